// What a capus_model is.
#pragma once

#include <vector>

#include "messages.h"
#include "scanner.h"

/// A function and the fields that libonnx does not know.
struct capus_function {
  const onnx::FunctionProto *proto = nullptr;
  std::vector<const onnx::AttributeProto *> attributeDefaults;
  std::vector<const onnx::ValueInfoProto *> valueInfos;
};

struct capus_model {
  const uint8_t *data = nullptr;
  std::vector<apus::Chunk> chunks;
  std::vector<apus::Payload> payloads;
  /// Owns every message below. Declared before what points into it.
  google::protobuf::Arena arena;
  const onnx::ModelProto *proto = nullptr;
  std::vector<capus_function> functions;

  capus_model() : arena(options()) {}

  static google::protobuf::ArenaOptions options() {
    google::protobuf::ArenaOptions options;
    options.start_block_size = 16 << 10;
    options.max_block_size = 1 << 20;
    return options;
  }
};

namespace apus {

/// Calls `visit(chunk)` for every piece of payload of `tensor`, in wire order.
template <typename Visit>
void forEachChunk(const capus_model &model, const onnx::TensorProto &tensor, Visit visit) {
  const auto &unknown = tensor.unknown_fields();
  for (int i = 0; i < unknown.field_count(); ++i) {
    const auto &field = unknown.field(i);
    if (field.number() != static_cast<int>(payloadIndexField) || field.type() != google::protobuf::UnknownField::TYPE_FIXED32)
      continue;
    if (field.fixed32() >= model.payloads.size()) continue;
    const Payload &payload = model.payloads[field.fixed32()];
    for (uint32_t c = 0; c < payload.count; ++c) visit(model.chunks[payload.first + c]);
  }
}

}  // namespace apus
