// Building a ModelProto through libonnx's messages, and writing it.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>
#include <system_error>

#include "expander.h"
#include "messages.h"
#include "wire.h"

using google::protobuf::Arena;
using google::protobuf::UnknownFieldSet;

struct capus_out_function {
  onnx::FunctionProto *proto;
  // Fields that libonnx does not know: they are serialised into the unknown fields when the model is written.
  std::vector<onnx::AttributeProto *> attributeDefaults;
  std::vector<onnx::ValueInfoProto *> valueInfos;
};

struct capus_writer {
  google::protobuf::Arena arena;
  onnx::ModelProto *model = nullptr;
  std::vector<std::unique_ptr<capus_out_function>> functions;
  std::vector<apus::OutPayload> payloads;
};

namespace apus {
namespace {

#define APUS_HANDLE(handle, Message)                                                                                \
  [[maybe_unused]] onnx::Message *message(handle *h) { return reinterpret_cast<onnx::Message *>(h); }               \
  [[maybe_unused]] void wrap(onnx::Message *m, handle *&h) { h = reinterpret_cast<handle *>(m); }
APUS_HANDLE(capus_out_graph, GraphProto)
APUS_HANDLE(capus_out_node, NodeProto)
APUS_HANDLE(capus_out_attribute, AttributeProto)
APUS_HANDLE(capus_out_tensor, TensorProto)
APUS_HANDLE(capus_out_sparse_tensor, SparseTensorProto)
APUS_HANDLE(capus_out_type, TypeProto)
APUS_HANDLE(capus_out_value_info, ValueInfoProto)
#undef APUS_HANDLE

std::string text(capus_bytes bytes) {
  return bytes.size ? std::string(reinterpret_cast<const char *>(bytes.data), bytes.size) : std::string();
}

/// Runs `make`, which returns a message, and returns its handle or NULL.
template <typename Handle, typename Make>
Handle *guardedHandle(capus_error *error, Make make) noexcept {
  Handle *handle = nullptr;
  guarded(error, [&] { wrap(make(), handle); });
  return handle;
}

void addUnknownText(UnknownFieldSet *unknown, int number, capus_bytes bytes) {
  if (bytes.size) unknown->AddLengthDelimited(number, text(bytes));
}

void fillEntry(onnx::StringStringEntryProto *message, capus_entry entry) {
  message->set_key(text(entry.key));
  message->set_value(text(entry.value));
}

void fillNode(onnx::NodeProto *node, const capus_out_node_fields &fields) {
  if (fields.name.size) node->set_name(text(fields.name));
  node->set_op_type(text(fields.op_type));
  if (fields.domain.size) node->set_domain(text(fields.domain));
  if (fields.doc_string.size) node->set_doc_string(text(fields.doc_string));
  addUnknownText(node->mutable_unknown_fields(), 8, fields.overload);
  for (size_t i = 0; i < fields.input_count; ++i) node->add_input(text(fields.inputs[i]));
  for (size_t i = 0; i < fields.output_count; ++i) node->add_output(text(fields.outputs[i]));
}

template <typename Repeated, typename Value>
void appendNumbers(Repeated *field, const Value *values, size_t count) {
  if (count > INT_MAX) throw Failure(CAPUS_LIMIT_EXCEEDED, "a list of more than 2^31 numbers");
  if (count) field->Add(values, values + count);
}

void fillAttribute(onnx::AttributeProto *attribute, const capus_out_attribute_fields &fields) {
  attribute->set_name(text(fields.name));
  if (fields.ref_attr_name.size) attribute->set_ref_attr_name(text(fields.ref_attr_name));
  if (fields.doc_string.size) attribute->set_doc_string(text(fields.doc_string));
  if (fields.has_type) {
    if (fields.type >= INT_MIN && fields.type <= INT_MAX &&
        onnx::AttributeProto_AttributeType_IsValid(static_cast<int>(fields.type))) {
      attribute->set_type(static_cast<onnx::AttributeProto_AttributeType>(fields.type));
    } else {
      attribute->mutable_unknown_fields()->AddVarint(20, static_cast<uint64_t>(fields.type));
    }
  }
  if (fields.has_f) attribute->set_f(fields.f);
  if (fields.has_i) attribute->set_i(fields.i);
  if (fields.has_s) attribute->set_s(text(fields.s));
  appendNumbers(attribute->mutable_floats(), fields.floats, fields.float_count);
  appendNumbers(attribute->mutable_ints(), fields.ints, fields.int_count);
  for (size_t i = 0; i < fields.string_count; ++i) attribute->add_strings(text(fields.strings[i]));
}

void fillShape(onnx::TensorShapeProto *shape, const capus_dim *dims, size_t rank) {
  for (size_t i = 0; i < rank; ++i) {
    auto *dim = shape->add_dim();
    if (dims[i].kind == CAPUS_DIM_VALUE) dim->set_dim_value(dims[i].value);
    if (dims[i].kind == CAPUS_DIM_PARAM) dim->set_dim_param(text(dims[i].param));
    if (dims[i].denotation.size) dim->set_denotation(text(dims[i].denotation));
  }
}

onnx::ValueInfoProto *fillValueInfo(onnx::ValueInfoProto *value, capus_bytes name, capus_bytes docString) {
  value->set_name(text(name));
  if (docString.size) value->set_doc_string(text(docString));
  return value;
}

onnx::GraphProto *fillGraph(onnx::GraphProto *graph, capus_bytes name, capus_bytes docString) {
  graph->set_name(text(name));
  if (docString.size) graph->set_doc_string(text(docString));
  return graph;
}

std::string serialize(const google::protobuf::MessageLite &message) {
  if (message.ByteSizeLong() > INT_MAX)
    throw Failure(CAPUS_LIMIT_EXCEEDED, "the model's structure (without its tensors' data) exceeds protobuf's 2 GiB");
  std::string bytes;
  if (!message.SerializeToString(&bytes)) throw Failure(CAPUS_INTERNAL_ERROR, "libprotobuf cannot write the model");
  return bytes;
}

/// Moves what libonnx does not know of functions into their unknown fields, once.
std::string serializeModel(capus_writer &writer) {
  for (auto &function : writer.functions) {
    auto *unknown = function->proto->mutable_unknown_fields();
    for (const auto *attribute : function->attributeDefaults) unknown->AddLengthDelimited(11, serialize(*attribute));
    function->attributeDefaults.clear();
    for (const auto *value : function->valueInfos) unknown->AddLengthDelimited(12, serialize(*value));
    function->valueInfos.clear();
  }
  return serialize(*writer.model);
}

/// Collects small pieces before they go to a file descriptor; large ones go directly.
class FileSink {
 public:
  explicit FileSink(int fd) : fd_(fd) { buffer_.reserve(capacity); }

  void add(const uint8_t *data, size_t size) {
    if (buffer_.size() + size > capacity) flush();
    if (size >= capacity) write(data, size);
    else buffer_.append(reinterpret_cast<const char *>(data), size);
  }

  void flush() {
    write(reinterpret_cast<const uint8_t *>(buffer_.data()), buffer_.size());
    buffer_.clear();
  }

 private:
  static constexpr size_t capacity = 64 << 10;
  int fd_;
  std::string buffer_;

  void write(const uint8_t *data, size_t size) const {
    while (size) {
      const ssize_t written = ::write(fd_, data, size < (1u << 30) ? size : (1u << 30));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) {
        const std::string reason = written < 0 ? std::generic_category().message(errno) : "the file takes no more bytes";
        throw Failure(CAPUS_IO_ERROR, "cannot write the model: " + reason);
      }
      data += written;
      size -= static_cast<size_t>(written);
    }
  }
};

}  // namespace
}  // namespace apus

using namespace apus;

extern "C" {

capus_status capus_writer_create(capus_writer **writer, capus_error *error) {
  return guarded(error, [&] {
    auto result = std::make_unique<capus_writer>();
    result->model = Arena::CreateMessage<onnx::ModelProto>(&result->arena);
    *writer = result.release();
  });
}

void capus_writer_destroy(capus_writer *writer) { delete writer; }

// MARK: - Model

capus_status capus_writer_set_model(capus_writer *writer, const capus_out_model_fields *fields, capus_error *error) {
  return guarded(error, [&] {
    auto *model = writer->model;
    model->set_ir_version(fields->ir_version);
    if (fields->has_model_version) model->set_model_version(fields->model_version);
    if (fields->producer_name.size) model->set_producer_name(text(fields->producer_name));
    if (fields->producer_version.size) model->set_producer_version(text(fields->producer_version));
    if (fields->domain.size) model->set_domain(text(fields->domain));
    if (fields->doc_string.size) model->set_doc_string(text(fields->doc_string));
  });
}

capus_status capus_writer_add_opset_import(capus_writer *writer, capus_bytes domain, int64_t version, capus_error *error) {
  return guarded(error, [&] {
    auto *opset = writer->model->add_opset_import();
    opset->set_domain(text(domain));
    opset->set_version(version);
  });
}

capus_status capus_writer_add_metadata(capus_writer *writer, capus_kind kind, void *handle, capus_entry entry,
                                       capus_error *error) {
  return guarded(error, [&] {
    if (kind == CAPUS_MODEL) return fillEntry(writer->model->add_metadata_props(), entry);
    std::string encoded;
    wire::appendBytes(encoded, 1, entry.key.data, entry.key.size);
    wire::appendBytes(encoded, 2, entry.value.data, entry.value.size);
    const auto add = [&](UnknownFieldSet *unknown, int number) { unknown->AddLengthDelimited(number, encoded); };
    switch (kind) {
      case CAPUS_MODEL: break;
      case CAPUS_GRAPH: return add(static_cast<onnx::GraphProto *>(handle)->mutable_unknown_fields(), 16);
      case CAPUS_NODE: return add(static_cast<onnx::NodeProto *>(handle)->mutable_unknown_fields(), 9);
      case CAPUS_VALUE_INFO: return add(static_cast<onnx::ValueInfoProto *>(handle)->mutable_unknown_fields(), 4);
      case CAPUS_TENSOR: return add(static_cast<onnx::TensorProto *>(handle)->mutable_unknown_fields(), 16);
      case CAPUS_FUNCTION: return add(static_cast<capus_out_function *>(handle)->proto->mutable_unknown_fields(), 14);
    }
    throw Failure(CAPUS_INVALID_ARGUMENT, "capus_writer_add_metadata: no such kind of message");
  });
}

// MARK: - Graph

capus_out_graph *capus_writer_graph(capus_writer *writer, capus_bytes name, capus_bytes doc_string, capus_error *error) {
  return guardedHandle<capus_out_graph>(error, [&] { return fillGraph(writer->model->mutable_graph(), name, doc_string); });
}

capus_out_value_info *capus_out_graph_add_value_info(capus_writer *, capus_out_graph *graph, capus_value_role role,
                                                     capus_bytes name, capus_bytes doc_string, capus_error *error) {
  return guardedHandle<capus_out_value_info>(error, [&] {
    auto *proto = message(graph);
    auto *value = role == CAPUS_INPUT ? proto->add_input() : role == CAPUS_OUTPUT ? proto->add_output() : proto->add_value_info();
    return fillValueInfo(value, name, doc_string);
  });
}

capus_out_tensor *capus_out_graph_add_initializer(capus_writer *, capus_out_graph *graph, capus_error *error) {
  return guardedHandle<capus_out_tensor>(error, [&] { return message(graph)->add_initializer(); });
}

capus_out_sparse_tensor *capus_out_graph_add_sparse_initializer(capus_writer *, capus_out_graph *graph, capus_error *error) {
  return guardedHandle<capus_out_sparse_tensor>(error, [&] { return message(graph)->add_sparse_initializer(); });
}

capus_status capus_out_graph_add_quantization_annotation(capus_writer *, capus_out_graph *graph, capus_bytes tensor_name,
                                                         const capus_entry *entries, size_t entry_count,
                                                         capus_error *error) {
  return guarded(error, [&] {
    auto *annotation = message(graph)->add_quantization_annotation();
    annotation->set_tensor_name(text(tensor_name));
    for (size_t i = 0; i < entry_count; ++i) fillEntry(annotation->add_quant_parameter_tensor_names(), entries[i]);
  });
}

capus_out_node *capus_out_graph_add_node(capus_writer *, capus_out_graph *graph, const capus_out_node_fields *fields,
                                         capus_error *error) {
  return guardedHandle<capus_out_node>(error, [&] {
    auto *node = message(graph)->add_node();
    fillNode(node, *fields);
    return node;
  });
}

// MARK: - Attributes

capus_out_attribute *capus_out_node_add_attribute(capus_writer *, capus_out_node *node,
                                                  const capus_out_attribute_fields *fields, capus_error *error) {
  return guardedHandle<capus_out_attribute>(error, [&] {
    auto *attribute = message(node)->add_attribute();
    fillAttribute(attribute, *fields);
    return attribute;
  });
}

capus_out_tensor *capus_out_attribute_tensor(capus_writer *, capus_out_attribute *attribute, bool repeated,
                                             capus_error *error) {
  return guardedHandle<capus_out_tensor>(
      error, [&] { return repeated ? message(attribute)->add_tensors() : message(attribute)->mutable_t(); });
}

capus_out_graph *capus_out_attribute_graph(capus_writer *, capus_out_attribute *attribute, bool repeated, capus_bytes name,
                                           capus_bytes doc_string, capus_error *error) {
  return guardedHandle<capus_out_graph>(error, [&] {
    return fillGraph(repeated ? message(attribute)->add_graphs() : message(attribute)->mutable_g(), name, doc_string);
  });
}

capus_out_sparse_tensor *capus_out_attribute_sparse_tensor(capus_writer *, capus_out_attribute *attribute, bool repeated,
                                                           capus_error *error) {
  return guardedHandle<capus_out_sparse_tensor>(error, [&] {
    return repeated ? message(attribute)->add_sparse_tensors() : message(attribute)->mutable_sparse_tensor();
  });
}

capus_out_type *capus_out_attribute_type(capus_writer *, capus_out_attribute *attribute, bool repeated, capus_error *error) {
  return guardedHandle<capus_out_type>(
      error, [&] { return repeated ? message(attribute)->add_type_protos() : message(attribute)->mutable_tp(); });
}

// MARK: - Tensors

capus_status capus_out_tensor_set(capus_writer *writer, capus_out_tensor *tensor, const capus_out_tensor_fields *fields,
                                  capus_error *error) {
  return guarded(error, [&] {
    auto *proto = message(tensor);
    if (fields->name.size) proto->set_name(text(fields->name));
    if (fields->doc_string.size) proto->set_doc_string(text(fields->doc_string));
    proto->set_data_type(fields->data_type);
    appendNumbers(proto->mutable_dims(), fields->dims, fields->rank);
    for (size_t i = 0; i < fields->string_count; ++i) proto->add_string_data(text(fields->strings[i]));
    if (fields->has_raw_data) {
      if (writer->payloads.size() >= UINT32_MAX) throw Failure(CAPUS_LIMIT_EXCEEDED, "too many tensors");
      const auto index = static_cast<uint32_t>(writer->payloads.size());
      writer->payloads.push_back({fields->raw_data.data, fields->raw_data.size});
      proto->mutable_unknown_fields()->AddFixed32(static_cast<int>(payloadIndexField), index);
    }
  });
}

capus_out_tensor *capus_out_sparse_tensor_values(capus_writer *, capus_out_sparse_tensor *sparse, capus_error *error) {
  return guardedHandle<capus_out_tensor>(error, [&] { return message(sparse)->mutable_values(); });
}

capus_out_tensor *capus_out_sparse_tensor_indices(capus_writer *, capus_out_sparse_tensor *sparse, capus_error *error) {
  return guardedHandle<capus_out_tensor>(error, [&] { return message(sparse)->mutable_indices(); });
}

capus_status capus_out_sparse_tensor_set_dims(capus_writer *, capus_out_sparse_tensor *sparse, const int64_t *dims,
                                              size_t rank, capus_error *error) {
  return guarded(error, [&] { appendNumbers(message(sparse)->mutable_dims(), dims, rank); });
}

// MARK: - Types

capus_out_type *capus_out_value_info_type(capus_writer *, capus_out_value_info *value, capus_error *error) {
  return guardedHandle<capus_out_type>(error, [&] { return message(value)->mutable_type(); });
}

capus_status capus_out_type_set(capus_writer *, capus_out_type *type, const capus_out_type_fields *fields,
                                capus_out_type **element, capus_error *error) {
  return guarded(error, [&] {
    auto *proto = message(type);
    if (fields->denotation.size) proto->set_denotation(text(fields->denotation));
    onnx::TypeProto *inner = nullptr;
    switch (fields->kind) {
      case CAPUS_TYPE_NONE:
        break;
      case CAPUS_TYPE_TENSOR: {
        auto *tensor = proto->mutable_tensor_type();
        tensor->set_elem_type(fields->elem_type);
        if (fields->has_shape) fillShape(tensor->mutable_shape(), fields->dims, fields->rank);
        break;
      }
      case CAPUS_TYPE_SPARSE_TENSOR: {
        auto *tensor = proto->mutable_sparse_tensor_type();
        tensor->set_elem_type(fields->elem_type);
        if (fields->has_shape) fillShape(tensor->mutable_shape(), fields->dims, fields->rank);
        break;
      }
      case CAPUS_TYPE_SEQUENCE:
        inner = proto->mutable_sequence_type()->mutable_elem_type();
        break;
      case CAPUS_TYPE_OPTIONAL:
        inner = proto->mutable_optional_type()->mutable_elem_type();
        break;
      case CAPUS_TYPE_MAP:
        proto->mutable_map_type()->set_key_type(fields->elem_type);
        inner = proto->mutable_map_type()->mutable_value_type();
        break;
      case CAPUS_TYPE_OPAQUE:
        if (fields->opaque_domain.size) proto->mutable_opaque_type()->set_domain(text(fields->opaque_domain));
        proto->mutable_opaque_type()->set_name(text(fields->opaque_name));
        break;
    }
    if (element) {
      *element = nullptr;
      if (inner) wrap(inner, *element);
    }
  });
}

// MARK: - Functions

capus_out_function *capus_writer_add_function(capus_writer *writer, const capus_out_function_fields *fields,
                                              capus_error *error) {
  capus_out_function *handle = nullptr;
  guarded(error, [&] {
    auto function = std::make_unique<capus_out_function>();
    auto *proto = function->proto = writer->model->add_functions();
    proto->set_name(text(fields->name));
    if (fields->domain.size) proto->set_domain(text(fields->domain));
    if (fields->doc_string.size) proto->set_doc_string(text(fields->doc_string));
    addUnknownText(proto->mutable_unknown_fields(), 13, fields->overload);
    for (size_t i = 0; i < fields->input_count; ++i) proto->add_input(text(fields->inputs[i]));
    for (size_t i = 0; i < fields->output_count; ++i) proto->add_output(text(fields->outputs[i]));
    for (size_t i = 0; i < fields->attribute_name_count; ++i) proto->add_attribute(text(fields->attribute_names[i]));
    writer->functions.push_back(std::move(function));
    handle = writer->functions.back().get();
  });
  return handle;
}

capus_status capus_out_function_add_opset_import(capus_writer *, capus_out_function *function, capus_bytes domain,
                                                 int64_t version, capus_error *error) {
  return guarded(error, [&] {
    auto *opset = function->proto->add_opset_import();
    opset->set_domain(text(domain));
    opset->set_version(version);
  });
}

capus_out_node *capus_out_function_add_node(capus_writer *, capus_out_function *function, const capus_out_node_fields *fields,
                                            capus_error *error) {
  return guardedHandle<capus_out_node>(error, [&] {
    auto *node = function->proto->add_node();
    fillNode(node, *fields);
    return node;
  });
}

capus_out_attribute *capus_out_function_add_attribute_default(capus_writer *writer, capus_out_function *function,
                                                              const capus_out_attribute_fields *fields, capus_error *error) {
  return guardedHandle<capus_out_attribute>(error, [&] {
    auto *attribute = Arena::CreateMessage<onnx::AttributeProto>(&writer->arena);
    fillAttribute(attribute, *fields);
    function->attributeDefaults.push_back(attribute);
    return attribute;
  });
}

capus_out_value_info *capus_out_function_add_value_info(capus_writer *writer, capus_out_function *function, capus_bytes name,
                                                        capus_bytes doc_string, capus_error *error) {
  return guardedHandle<capus_out_value_info>(error, [&] {
    auto *value = fillValueInfo(Arena::CreateMessage<onnx::ValueInfoProto>(&writer->arena), name, doc_string);
    function->valueInfos.push_back(value);
    return value;
  });
}

// MARK: - Writing

capus_status capus_writer_write_to_buffer(capus_writer *writer, uint8_t **data, size_t *size, capus_error *error) {
  return guarded(error, [&] {
    std::unique_ptr<uint8_t, void (*)(uint8_t *)> buffer(nullptr, capus_buffer_destroy);
    size_t total = 0;
    size_t filled = 0;
    expand(
        serializeModel(*writer), writer->payloads,
        [&](uint64_t bytes) {
          total = static_cast<size_t>(bytes);
          buffer.reset(static_cast<uint8_t *>(std::malloc(total ? total : 1)));
          if (!buffer) throw std::bad_alloc();
        },
        [&](const uint8_t *bytes, size_t count) {
          if (count > total - filled) throw Failure(CAPUS_INTERNAL_ERROR, "the model grew while it was written");
          if (count) std::memcpy(buffer.get() + filled, bytes, count);
          filled += count;
        });
    *size = filled;
    *data = buffer.release();
  });
}

void capus_buffer_destroy(uint8_t *data) { std::free(data); }

capus_status capus_writer_write_to_fd(capus_writer *writer, int fd, capus_error *error) {
  return guarded(error, [&] {
    FileSink file(fd);
    expand(serializeModel(*writer), writer->payloads, [](uint64_t) {},
           [&](const uint8_t *bytes, size_t count) { file.add(bytes, count); });
    file.flush();
  });
}

}  // extern "C"
