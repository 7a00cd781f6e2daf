// Tensors' data: views into the model's bytes, and decoding of the typed fields.
#include "model.h"
#include "wire.h"

namespace apus {
namespace {

const onnx::TensorProto &message(const capus_tensor *h) { return *reinterpret_cast<const onnx::TensorProto *>(h); }

/// What an element of a typed field is, or an error for what is not a typed field.
Element elementOf(capus_data_field field) {
  const auto number = static_cast<uint32_t>(field);
  const Element element = number == 9 ? Element::none : payloadElement(number);
  if (element == Element::none) throw Failure(CAPUS_INVALID_ARGUMENT, "not a typed data field of TensorProto");
  return element;
}

uint64_t countOf(const capus_model &model, const onnx::TensorProto &tensor, uint8_t field) {
  uint64_t count = 0;
  forEachChunk(model, tensor, [&](const Chunk &chunk) {
    if (chunk.field == field) count += chunk.count;
  });
  return count;
}

/// Stores elements of `Size` bytes, lowest bytes of the numbers given, in this machine's (little-endian) order.
template <unsigned Size>
struct Store {
  uint8_t *out;
  void operator()(uint64_t value) {
    std::memcpy(out, &value, Size);
    out += Size;
  }
};

/// Reads the numbers of a chunk that the scanner has checked. It never leaves the chunk, even where another process has
/// changed the mapped file since.
template <typename Sink>
void decodeChunk(const uint8_t *data, const Chunk &chunk, Element element, Sink &sink) {
  uint64_t position = chunk.offset;
  const uint64_t end = chunk.offset + chunk.length;
  uint32_t number = 0;
  wire::Type type = wire::varint;
  uint64_t value = 0;
  for (uint64_t i = 0; i < chunk.count; ++i) {
    if (!chunk.packed && !wire::readTag(data, position, end, number, type)) return;
    switch (element) {
      case Element::fixed32: {
        if (end - position < 4) return;
        value = wire::loadFixed32(data + position);
        position += 4;
        break;
      }
      case Element::fixed64: {
        if (end - position < 8) return;
        value = wire::loadFixed32(data + position) | static_cast<uint64_t>(wire::loadFixed32(data + position + 4)) << 32;
        position += 8;
        break;
      }
      default:
        if (!wire::readVarint(data, position, end, value)) return;
    }
    sink(value);
  }
}

template <unsigned Size>
void decode(const capus_model &model, const onnx::TensorProto &tensor, uint8_t field, Element element, void *out) {
  Store<Size> store{static_cast<uint8_t *>(out)};
  const bool fixed = element == Element::fixed32 || element == Element::fixed64;
  forEachChunk(model, tensor, [&](const Chunk &chunk) {
    if (chunk.field != field) return;
    if (fixed && chunk.packed) {
      std::memcpy(store.out, model.data + chunk.offset, chunk.length);
      store.out += chunk.length;
    } else {
      decodeChunk(model.data, chunk, element, store);
    }
  });
}

void checkCount(const capus_model &model, const onnx::TensorProto &tensor, capus_data_field field, uint64_t count) {
  const uint64_t held = countOf(model, tensor, static_cast<uint8_t>(field));
  if (held != count) {
    throw Failure(CAPUS_INVALID_ARGUMENT,
                  "the field holds " + std::to_string(held) + " elements, not " + std::to_string(count));
  }
}

}  // namespace
}  // namespace apus

using namespace apus;

extern "C" {

void capus_tensor_read(const capus_model *model, const capus_tensor *tensor, capus_tensor_info *info) {
  const auto &proto = message(tensor);
  *info = {};
  info->name = bytesOf(proto.name());
  info->doc_string = bytesOf(proto.doc_string());
  info->dims = proto.dims().data();
  info->rank = static_cast<size_t>(proto.dims_size());
  info->has_data_type = proto.has_data_type();
  info->data_type = proto.data_type();
  info->data_location = proto.data_location();
  info->has_segment = proto.has_segment();
  info->external_count = static_cast<size_t>(proto.external_data_size());
  info->metadata_count = capus_metadata(CAPUS_TENSOR, tensor, nullptr, 0);
  const auto &unknown = proto.unknown_fields();
  for (int i = 0; i < unknown.field_count(); ++i) {
    // A data location that libonnx does not know.
    if (unknown.field(i).number() == 14 && unknown.field(i).type() == google::protobuf::UnknownField::TYPE_VARINT)
      info->data_location = static_cast<int64_t>(unknown.field(i).varint());
  }
  forEachChunk(*model, proto, [&](const Chunk &chunk) {
    switch (chunk.field) {
      case CAPUS_FLOAT_DATA: info->float_count += chunk.count; break;
      case CAPUS_INT32_DATA: info->int32_count += chunk.count; break;
      case CAPUS_STRING_DATA: info->string_count += chunk.count; break;
      case CAPUS_INT64_DATA: info->int64_count += chunk.count; break;
      case CAPUS_DOUBLE_DATA: info->double_count += chunk.count; break;
      case CAPUS_UINT64_DATA: info->uint64_count += chunk.count; break;
      default:
        info->has_raw_data = true;
        info->raw_data = {model->data + chunk.offset, static_cast<size_t>(chunk.length)};
    }
  });
}

capus_entry capus_tensor_external(const capus_tensor *tensor, size_t index) {
  const auto &entries = message(tensor).external_data();
  if (index >= static_cast<size_t>(entries.size())) return {{nullptr, 0}, {nullptr, 0}};
  const auto &entry = entries.Get(static_cast<int>(index));
  return {bytesOf(entry.key()), bytesOf(entry.value())};
}

capus_bytes capus_tensor_in_place(const capus_model *model, const capus_tensor *tensor, capus_data_field field) {
  capus_bytes result = {nullptr, 0};
  if (field != CAPUS_FLOAT_DATA && field != CAPUS_DOUBLE_DATA) return result;
  bool inOnePiece = true;
  forEachChunk(*model, message(tensor), [&](const Chunk &chunk) {
    if (chunk.field != field) return;
    if (result.data || !chunk.packed) inOnePiece = false;
    result = {model->data + chunk.offset, static_cast<size_t>(chunk.length)};
  });
  return inOnePiece ? result : capus_bytes{nullptr, 0};
}

capus_status capus_tensor_decode(const capus_model *model, const capus_tensor *tensor, capus_data_field field,
                                 size_t element_size, void *out, uint64_t count, capus_error *error) {
  return guarded(error, [&] {
    const auto &proto = message(tensor);
    const Element element = elementOf(field);
    checkCount(*model, proto, field, count);
    if (count == 0) return;
    if (!out) throw Failure(CAPUS_INVALID_ARGUMENT, "capus_tensor_decode: no memory to decode to");
    const auto number = static_cast<uint8_t>(field);
    const bool wide = field == CAPUS_INT64_DATA || field == CAPUS_DOUBLE_DATA || field == CAPUS_UINT64_DATA;
    const bool word = field == CAPUS_FLOAT_DATA || field == CAPUS_INT32_DATA || field == CAPUS_UINT64_DATA;
    if (element_size == 8 && wide) {
      decode<8>(*model, proto, number, element, out);
    } else if (element_size == 4 && word) {
      decode<4>(*model, proto, number, element, out);
    } else if (element_size == 2 && field == CAPUS_INT32_DATA) {
      decode<2>(*model, proto, number, element, out);
    } else if (element_size == 1 && field == CAPUS_INT32_DATA) {
      decode<1>(*model, proto, number, element, out);
    } else {
      throw Failure(CAPUS_INVALID_ARGUMENT, "capus_tensor_decode: no such element size for this field");
    }
  });
}

capus_status capus_tensor_strings(const capus_model *model, const capus_tensor *tensor, capus_bytes *strings, uint64_t count,
                                  capus_error *error) {
  return guarded(error, [&] {
    const auto &proto = message(tensor);
    checkCount(*model, proto, CAPUS_STRING_DATA, count);
    capus_bytes *next = strings;
    forEachChunk(*model, proto, [&](const Chunk &chunk) {
      if (chunk.field != CAPUS_STRING_DATA) return;
      uint64_t position = chunk.offset;
      const uint64_t end = chunk.offset + chunk.length;
      for (uint64_t i = 0; i < chunk.count; ++i) {
        uint32_t number = 0;
        wire::Type type = wire::varint;
        uint64_t length = 0;
        if (!wire::readTag(model->data, position, end, number, type) ||
            !wire::readVarint(model->data, position, end, length) || length > end - position)
          throw Failure(CAPUS_INTERNAL_ERROR, "string_data changed while it was read");
        *next++ = {model->data + position, static_cast<size_t>(length)};
        position += length;
      }
    });
  });
}

void capus_sparse_tensor_read(const capus_sparse_tensor *sparse, capus_sparse_tensor_info *info) {
  const auto &proto = *reinterpret_cast<const onnx::SparseTensorProto *>(sparse);
  *info = {};
  if (proto.has_values()) info->values = reinterpret_cast<const capus_tensor *>(&proto.values());
  if (proto.has_indices()) info->indices = reinterpret_cast<const capus_tensor *>(&proto.indices());
  info->dims = proto.dims().data();
  info->rank = static_cast<size_t>(proto.dims_size());
}

}  // extern "C"
