// What the scanner and the expander know of ONNX's messages: which field holds which message.
#pragma once

#include <cstdint>

namespace apus {

/// A message of onnx-ml.proto (or a protobuf group, whose content nobody interprets).
enum class Kind : uint8_t {
  none,  // not a message
  model,
  graph,
  node,
  attribute,
  tensor,
  sparseTensor,
  function,
  trainingInfo,
  // The messages from here on cannot contain a tensor: they are copied unchanged.
  valueInfo,
  type,
  typeTensor,
  typeSparseTensor,
  typeSequence,
  typeOptional,
  typeMap,
  typeOpaque,
  shape,
  dimension,
  entry,
  opsetImport,
  segment,
  annotation,
  group,
};

/// Whether a message of this kind can contain a tensor, so that its length changes when payloads are taken out.
inline bool mayContainTensors(Kind kind) { return kind >= Kind::model && kind <= Kind::trainingInfo; }

struct Child {
  Kind kind;
  const char *name;
};

/// The message that field `field` of `parent` holds; kind `none` where the field holds no message.
Child childOf(Kind parent, uint32_t field);

/// The TensorProto field that the scanner adds to each tensor with a payload: an index into the payload table, as fixed32.
/// It is the largest number protobuf allows, which ONNX does not use.
constexpr uint32_t payloadIndexField = (1u << 29) - 1;

/// How the elements of a TensorProto payload field are stored.
enum class Element : uint8_t { none, raw, string, fixed32, fixed64, varint };

/// The element of TensorProto's field `field`; `none` where the field is no payload.
Element payloadElement(uint32_t field);

/// Bytes that libonnx needs for one message object of this kind.
uint64_t objectSize(Kind kind);

}  // namespace apus
