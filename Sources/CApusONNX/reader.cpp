// Parsing a model, and the accessors of everything but tensors' data.
#include <google/protobuf/io/coded_stream.h>

#include <climits>
#include <memory>

#include "model.h"
#include "wire.h"

using google::protobuf::UnknownField;
using google::protobuf::UnknownFieldSet;

namespace apus {
namespace {

// Handles are the messages themselves, under opaque names.
#define APUS_HANDLE(handle, Message)                                                                                      \
  [[maybe_unused]] const onnx::Message &message(const handle *h) { return *reinterpret_cast<const onnx::Message *>(h); }  \
  [[maybe_unused]] const handle *wrap(const onnx::Message *m) { return reinterpret_cast<const handle *>(m); }
APUS_HANDLE(capus_graph, GraphProto)
APUS_HANDLE(capus_node, NodeProto)
APUS_HANDLE(capus_attribute, AttributeProto)
APUS_HANDLE(capus_tensor, TensorProto)
APUS_HANDLE(capus_sparse_tensor, SparseTensorProto)
APUS_HANDLE(capus_type, TypeProto)
APUS_HANDLE(capus_value_info, ValueInfoProto)
#undef APUS_HANDLE

constexpr uint32_t defaultMaxDepth = 200;
constexpr uint64_t defaultMaxParsedBytes = 1ull << 30;
// libprotobuf recurses: about half a kilobyte of stack per level, on a thread whose stack the caller chose.
constexpr uint32_t greatestMaxDepth = 1000;

/// Parses bytes that the scanner has checked. Throws Failure if libprotobuf disagrees.
void parse(const std::string &bytes, uint32_t maxDepth, google::protobuf::MessageLite *into) {
  if (bytes.size() > INT_MAX) throw Failure(CAPUS_LIMIT_EXCEEDED, "a message exceeds protobuf's 2 GiB");
  google::protobuf::io::CodedInputStream input(reinterpret_cast<const uint8_t *>(bytes.data()),
                                               static_cast<int>(bytes.size()));
  input.SetTotalBytesLimit(INT_MAX);
  input.SetRecursionLimit(static_cast<int>(maxDepth) + 8);
  if (!into->ParseFromCodedStream(&input) || !input.ConsumedEntireMessage())
    throw Failure(CAPUS_INVALID_MODEL, "not a valid ONNX model: libprotobuf cannot parse it");
}

/// The last length-delimited unknown field of a number, which is what a singular string or bytes field holds.
capus_bytes lastUnknownBytes(const UnknownFieldSet &unknown, int number) {
  for (int i = unknown.field_count() - 1; i >= 0; --i) {
    const auto &field = unknown.field(i);
    if (field.number() == number && field.type() == UnknownField::TYPE_LENGTH_DELIMITED)
      return bytesOf(field.length_delimited());
  }
  return bytesOf(google::protobuf::internal::GetEmptyString());
}

/// The last varint among the unknown fields of a number: where libonnx put an enum value that it does not know.
bool lastUnknownVarint(const UnknownFieldSet &unknown, int number, int64_t &value) {
  for (int i = unknown.field_count() - 1; i >= 0; --i) {
    const auto &field = unknown.field(i);
    if (field.number() == number && field.type() == UnknownField::TYPE_VARINT) {
      value = static_cast<int64_t>(field.varint());
      return true;
    }
  }
  return false;
}

size_t countUnknownMessages(const UnknownFieldSet &unknown, int number) {
  size_t count = 0;
  for (int i = 0; i < unknown.field_count(); ++i)
    count += unknown.field(i).number() == number && unknown.field(i).type() == UnknownField::TYPE_LENGTH_DELIMITED;
  return count;
}

/// Reads a StringStringEntryProto from bytes that the scanner has checked.
capus_entry entryOf(const std::string &encoded) {
  capus_entry entry = {bytesOf(google::protobuf::internal::GetEmptyString()),
                       bytesOf(google::protobuf::internal::GetEmptyString())};
  const auto *data = reinterpret_cast<const uint8_t *>(encoded.data());
  uint64_t position = 0;
  unsigned groups = 0;
  while (position < encoded.size()) {
    uint32_t number = 0;
    wire::Type type = wire::varint;
    uint64_t value = 0;
    if (!wire::readTag(data, position, encoded.size(), number, type)) break;
    const uint64_t left = encoded.size() - position;
    switch (type) {
      case wire::varint:
        if (!wire::readVarint(data, position, encoded.size(), value)) return entry;
        break;
      case wire::fixed32:
        if (left < 4) return entry;
        position += 4;
        break;
      case wire::fixed64:
        if (left < 8) return entry;
        position += 8;
        break;
      case wire::startGroup: ++groups; break;
      case wire::endGroup:
        if (groups != 0) --groups;
        break;
      case wire::bytes:
        if (!wire::readVarint(data, position, encoded.size(), value) || value > encoded.size() - position) return entry;
        if (groups == 0 && (number == 1 || number == 2))
          (number == 1 ? entry.key : entry.value) = {data + position, static_cast<size_t>(value)};
        position += value;
        break;
    }
  }
  return entry;
}

size_t unknownEntries(const UnknownFieldSet &unknown, int number, capus_entry *entries, size_t capacity) {
  size_t count = 0;
  for (int i = 0; i < unknown.field_count(); ++i) {
    const auto &field = unknown.field(i);
    if (field.number() != number || field.type() != UnknownField::TYPE_LENGTH_DELIMITED) continue;
    if (count < capacity) entries[count] = entryOf(field.length_delimited());
    ++count;
  }
  return count;
}

capus_entry entryOf(const onnx::StringStringEntryProto &entry) { return {bytesOf(entry.key()), bytesOf(entry.value())}; }

template <typename Entries>
size_t knownEntries(const Entries &source, capus_entry *entries, size_t capacity) {
  const auto count = static_cast<size_t>(source.size());
  for (size_t i = 0; i < count && i < capacity; ++i) entries[i] = entryOf(source.Get(static_cast<int>(i)));
  return count;
}

template <typename Field>
auto at(const Field &field, size_t index) -> decltype(wrap(&field.Get(0))) {
  return index < static_cast<size_t>(field.size()) ? wrap(&field.Get(static_cast<int>(index))) : nullptr;
}

template <typename Field>
capus_bytes bytesAt(const Field &field, size_t index) {
  return index < static_cast<size_t>(field.size()) ? bytesOf(field.Get(static_cast<int>(index))) : capus_bytes{nullptr, 0};
}

template <typename Field>
capus_opset_import opsetAt(const Field &field, size_t index) {
  if (index >= static_cast<size_t>(field.size())) return {{nullptr, 0}, 0};
  const auto &opset = field.Get(static_cast<int>(index));
  return {bytesOf(opset.domain()), opset.version()};
}

/// Field numbers that libonnx 1.12 does not know.
enum NewField : int {
  valueInfoMetadata = 4,
  nodeOverload = 8,
  nodeMetadata = 9,
  functionAttributeDefault = 11,
  functionValueInfo = 12,
  functionOverload = 13,
  functionMetadata = 14,
  graphMetadata = 16,
  tensorMetadata = 16,
};

void readFunctions(capus_model &model, uint32_t maxDepth) {
  const auto &functions = model.proto->functions();
  model.functions.resize(static_cast<size_t>(functions.size()));
  for (int i = 0; i < functions.size(); ++i) {
    capus_function &function = model.functions[static_cast<size_t>(i)];
    function.proto = &functions.Get(i);
    const auto &unknown = function.proto->unknown_fields();
    for (int f = 0; f < unknown.field_count(); ++f) {
      const auto &field = unknown.field(f);
      if (field.type() != UnknownField::TYPE_LENGTH_DELIMITED) continue;
      if (field.number() == functionAttributeDefault) {
        auto *attribute = google::protobuf::Arena::CreateMessage<onnx::AttributeProto>(&model.arena);
        parse(field.length_delimited(), maxDepth, attribute);
        function.attributeDefaults.push_back(attribute);
      } else if (field.number() == functionValueInfo) {
        auto *value = google::protobuf::Arena::CreateMessage<onnx::ValueInfoProto>(&model.arena);
        parse(field.length_delimited(), maxDepth, value);
        function.valueInfos.push_back(value);
      }
    }
  }
}

}  // namespace
}  // namespace apus

using namespace apus;

extern "C" {

const char *capus_error_message(const capus_error *error) { return error ? error->message : ""; }

// MARK: - Model

capus_status capus_model_parse(const uint8_t *data, size_t size, const capus_limits *limits, capus_model **model,
                               capus_error *error) {
  if (!model || (!data && size != 0)) return report(error, CAPUS_INVALID_ARGUMENT, "capus_model_parse: a null pointer");
  return guarded(error, [&] {
    ScanLimits scanLimits = {limits && limits->max_depth ? limits->max_depth : defaultMaxDepth,
                             limits && limits->max_parsed_bytes ? limits->max_parsed_bytes : defaultMaxParsedBytes};
    if (scanLimits.maxDepth > greatestMaxDepth) scanLimits.maxDepth = greatestMaxDepth;
    ScanResult scanned = scan(data, size, scanLimits);
    auto result = std::make_unique<capus_model>();
    result->data = data;
    result->chunks = std::move(scanned.chunks);
    result->payloads = std::move(scanned.payloads);
    auto *proto = google::protobuf::Arena::CreateMessage<onnx::ModelProto>(&result->arena);
    parse(scanned.reduced, scanLimits.maxDepth, proto);
    result->proto = proto;
    readFunctions(*result, scanLimits.maxDepth);
    *model = result.release();
  });
}

void capus_model_destroy(capus_model *model) { delete model; }

void capus_model_read(const capus_model *model, capus_model_info *info) {
  const auto &proto = *model->proto;
  *info = {};
  info->ir_version = proto.ir_version();
  info->model_version = proto.model_version();
  info->producer_name = bytesOf(proto.producer_name());
  info->producer_version = bytesOf(proto.producer_version());
  info->domain = bytesOf(proto.domain());
  info->doc_string = bytesOf(proto.doc_string());
  info->graph = proto.has_graph() ? wrap(&proto.graph()) : nullptr;
  info->opset_import_count = static_cast<size_t>(proto.opset_import_size());
  info->function_count = model->functions.size();
  info->training_info_count = static_cast<size_t>(proto.training_info_size());
  info->metadata_count = static_cast<size_t>(proto.metadata_props_size());
}

capus_opset_import capus_model_opset_import(const capus_model *model, size_t index) {
  return opsetAt(model->proto->opset_import(), index);
}

const capus_function *capus_model_function(const capus_model *model, size_t index) {
  return index < model->functions.size() ? &model->functions[index] : nullptr;
}

// MARK: - Metadata

size_t capus_metadata(capus_kind kind, const void *handle, capus_entry *entries, size_t capacity) {
  if (!handle) return 0;
  switch (kind) {
    case CAPUS_MODEL:
      return knownEntries(static_cast<const capus_model *>(handle)->proto->metadata_props(), entries, capacity);
    case CAPUS_GRAPH:
      return unknownEntries(static_cast<const onnx::GraphProto *>(handle)->unknown_fields(), graphMetadata, entries, capacity);
    case CAPUS_NODE:
      return unknownEntries(static_cast<const onnx::NodeProto *>(handle)->unknown_fields(), nodeMetadata, entries, capacity);
    case CAPUS_VALUE_INFO:
      return unknownEntries(static_cast<const onnx::ValueInfoProto *>(handle)->unknown_fields(), valueInfoMetadata, entries,
                            capacity);
    case CAPUS_TENSOR:
      return unknownEntries(static_cast<const onnx::TensorProto *>(handle)->unknown_fields(), tensorMetadata, entries,
                            capacity);
    case CAPUS_FUNCTION:
      return unknownEntries(static_cast<const capus_function *>(handle)->proto->unknown_fields(), functionMetadata, entries,
                            capacity);
  }
  return 0;
}

// MARK: - Graph

void capus_graph_read(const capus_graph *graph, capus_graph_info *info) {
  const auto &proto = message(graph);
  *info = {};
  info->name = bytesOf(proto.name());
  info->doc_string = bytesOf(proto.doc_string());
  info->node_count = static_cast<size_t>(proto.node_size());
  info->input_count = static_cast<size_t>(proto.input_size());
  info->output_count = static_cast<size_t>(proto.output_size());
  info->value_info_count = static_cast<size_t>(proto.value_info_size());
  info->initializer_count = static_cast<size_t>(proto.initializer_size());
  info->sparse_initializer_count = static_cast<size_t>(proto.sparse_initializer_size());
  info->quantization_annotation_count = static_cast<size_t>(proto.quantization_annotation_size());
  info->metadata_count = countUnknownMessages(proto.unknown_fields(), graphMetadata);
}

const capus_node *capus_graph_node(const capus_graph *graph, size_t index) { return at(message(graph).node(), index); }
const capus_value_info *capus_graph_input(const capus_graph *graph, size_t index) {
  return at(message(graph).input(), index);
}
const capus_value_info *capus_graph_output(const capus_graph *graph, size_t index) {
  return at(message(graph).output(), index);
}
const capus_value_info *capus_graph_value_info(const capus_graph *graph, size_t index) {
  return at(message(graph).value_info(), index);
}
const capus_tensor *capus_graph_initializer(const capus_graph *graph, size_t index) {
  return at(message(graph).initializer(), index);
}
const capus_sparse_tensor *capus_graph_sparse_initializer(const capus_graph *graph, size_t index) {
  return at(message(graph).sparse_initializer(), index);
}

size_t capus_graph_quantization_annotation(const capus_graph *graph, size_t index, capus_bytes *tensor_name,
                                           capus_entry *entries, size_t capacity) {
  const auto &annotations = message(graph).quantization_annotation();
  if (index >= static_cast<size_t>(annotations.size())) return 0;
  const auto &annotation = annotations.Get(static_cast<int>(index));
  *tensor_name = bytesOf(annotation.tensor_name());
  return knownEntries(annotation.quant_parameter_tensor_names(), entries, capacity);
}

// MARK: - Node

void capus_node_read(const capus_node *node, capus_node_info *info) {
  const auto &proto = message(node);
  *info = {};
  info->name = bytesOf(proto.name());
  info->op_type = bytesOf(proto.op_type());
  info->domain = bytesOf(proto.domain());
  info->overload = lastUnknownBytes(proto.unknown_fields(), nodeOverload);
  info->doc_string = bytesOf(proto.doc_string());
  info->input_count = static_cast<size_t>(proto.input_size());
  info->output_count = static_cast<size_t>(proto.output_size());
  info->attribute_count = static_cast<size_t>(proto.attribute_size());
  info->metadata_count = countUnknownMessages(proto.unknown_fields(), nodeMetadata);
}

capus_bytes capus_node_input(const capus_node *node, size_t index) { return bytesAt(message(node).input(), index); }
capus_bytes capus_node_output(const capus_node *node, size_t index) { return bytesAt(message(node).output(), index); }
const capus_attribute *capus_node_attribute(const capus_node *node, size_t index) {
  return at(message(node).attribute(), index);
}

// MARK: - Attribute

void capus_attribute_read(const capus_attribute *attribute, capus_attribute_info *info) {
  const auto &proto = message(attribute);
  *info = {};
  info->name = bytesOf(proto.name());
  info->ref_attr_name = bytesOf(proto.ref_attr_name());
  info->doc_string = bytesOf(proto.doc_string());
  info->has_type = proto.has_type();
  info->type = proto.type();
  // An enum value newer than libonnx arrives as an unknown field.
  if (!info->has_type) info->has_type = lastUnknownVarint(proto.unknown_fields(), 20, info->type);
  info->has_f = proto.has_f();
  info->f = proto.f();
  info->has_i = proto.has_i();
  info->i = proto.i();
  info->has_s = proto.has_s();
  info->s = bytesOf(proto.s());
  info->tensor = proto.has_t() ? wrap(&proto.t()) : nullptr;
  info->graph = proto.has_g() ? wrap(&proto.g()) : nullptr;
  info->sparse_tensor = proto.has_sparse_tensor() ? wrap(&proto.sparse_tensor()) : nullptr;
  info->type_proto = proto.has_tp() ? wrap(&proto.tp()) : nullptr;
  info->floats = proto.floats().data();
  info->float_count = static_cast<size_t>(proto.floats_size());
  info->ints = proto.ints().data();
  info->int_count = static_cast<size_t>(proto.ints_size());
  info->string_count = static_cast<size_t>(proto.strings_size());
  info->tensor_count = static_cast<size_t>(proto.tensors_size());
  info->graph_count = static_cast<size_t>(proto.graphs_size());
  info->sparse_tensor_count = static_cast<size_t>(proto.sparse_tensors_size());
  info->type_proto_count = static_cast<size_t>(proto.type_protos_size());
}

capus_bytes capus_attribute_string(const capus_attribute *attribute, size_t index) {
  return bytesAt(message(attribute).strings(), index);
}
const capus_tensor *capus_attribute_tensor(const capus_attribute *attribute, size_t index) {
  return at(message(attribute).tensors(), index);
}
const capus_graph *capus_attribute_graph(const capus_attribute *attribute, size_t index) {
  return at(message(attribute).graphs(), index);
}
const capus_sparse_tensor *capus_attribute_sparse_tensor(const capus_attribute *attribute, size_t index) {
  return at(message(attribute).sparse_tensors(), index);
}
const capus_type *capus_attribute_type_proto(const capus_attribute *attribute, size_t index) {
  return at(message(attribute).type_protos(), index);
}

// MARK: - Types

void capus_value_info_read(const capus_value_info *value, capus_value_info_info *info) {
  const auto &proto = message(value);
  *info = {};
  info->name = bytesOf(proto.name());
  info->doc_string = bytesOf(proto.doc_string());
  info->type = proto.has_type() ? wrap(&proto.type()) : nullptr;
  info->metadata_count = countUnknownMessages(proto.unknown_fields(), valueInfoMetadata);
}

void capus_type_read(const capus_type *type, capus_type_info *info) {
  const auto &proto = message(type);
  *info = {};
  info->denotation = bytesOf(proto.denotation());
  const auto readShape = [&](const auto &tensor) {
    info->elem_type = tensor.elem_type();
    info->has_shape = tensor.has_shape();
    info->rank = static_cast<size_t>(tensor.shape().dim_size());
  };
  switch (proto.value_case()) {
    case onnx::TypeProto::kTensorType:
      info->kind = CAPUS_TYPE_TENSOR;
      readShape(proto.tensor_type());
      break;
    case onnx::TypeProto::kSparseTensorType:
      info->kind = CAPUS_TYPE_SPARSE_TENSOR;
      readShape(proto.sparse_tensor_type());
      break;
    case onnx::TypeProto::kSequenceType:
      info->kind = CAPUS_TYPE_SEQUENCE;
      if (proto.sequence_type().has_elem_type()) info->element = wrap(&proto.sequence_type().elem_type());
      break;
    case onnx::TypeProto::kOptionalType:
      info->kind = CAPUS_TYPE_OPTIONAL;
      if (proto.optional_type().has_elem_type()) info->element = wrap(&proto.optional_type().elem_type());
      break;
    case onnx::TypeProto::kMapType:
      info->kind = CAPUS_TYPE_MAP;
      info->elem_type = proto.map_type().key_type();
      if (proto.map_type().has_value_type()) info->element = wrap(&proto.map_type().value_type());
      break;
    case onnx::TypeProto::kOpaqueType:
      info->kind = CAPUS_TYPE_OPAQUE;
      info->opaque_domain = bytesOf(proto.opaque_type().domain());
      info->opaque_name = bytesOf(proto.opaque_type().name());
      break;
    case onnx::TypeProto::VALUE_NOT_SET:
      info->kind = CAPUS_TYPE_NONE;
      break;
  }
}

capus_dim capus_type_dim(const capus_type *type, size_t index) {
  const auto &proto = message(type);
  capus_dim result = {};
  const bool sparse = proto.value_case() == onnx::TypeProto::kSparseTensorType;
  const auto &shape = sparse ? proto.sparse_tensor_type().shape() : proto.tensor_type().shape();
  if (index >= static_cast<size_t>(shape.dim_size())) return result;
  const auto &dim = shape.dim(static_cast<int>(index));
  result.denotation = bytesOf(dim.denotation());
  if (dim.value_case() == onnx::TensorShapeProto_Dimension::kDimValue) {
    result.kind = CAPUS_DIM_VALUE;
    result.value = dim.dim_value();
  } else if (dim.value_case() == onnx::TensorShapeProto_Dimension::kDimParam) {
    result.kind = CAPUS_DIM_PARAM;
    result.param = bytesOf(dim.dim_param());
  }
  return result;
}

// MARK: - Functions

void capus_function_read(const capus_function *function, capus_function_info *info) {
  const auto &proto = *function->proto;
  *info = {};
  info->name = bytesOf(proto.name());
  info->domain = bytesOf(proto.domain());
  info->overload = lastUnknownBytes(proto.unknown_fields(), functionOverload);
  info->doc_string = bytesOf(proto.doc_string());
  info->input_count = static_cast<size_t>(proto.input_size());
  info->output_count = static_cast<size_t>(proto.output_size());
  info->attribute_name_count = static_cast<size_t>(proto.attribute_size());
  info->attribute_default_count = function->attributeDefaults.size();
  info->node_count = static_cast<size_t>(proto.node_size());
  info->opset_import_count = static_cast<size_t>(proto.opset_import_size());
  info->value_info_count = function->valueInfos.size();
  info->metadata_count = countUnknownMessages(proto.unknown_fields(), functionMetadata);
}

capus_bytes capus_function_input(const capus_function *function, size_t index) {
  return bytesAt(function->proto->input(), index);
}
capus_bytes capus_function_output(const capus_function *function, size_t index) {
  return bytesAt(function->proto->output(), index);
}
capus_bytes capus_function_attribute_name(const capus_function *function, size_t index) {
  return bytesAt(function->proto->attribute(), index);
}
const capus_attribute *capus_function_attribute_default(const capus_function *function, size_t index) {
  return index < function->attributeDefaults.size() ? wrap(function->attributeDefaults[index]) : nullptr;
}
const capus_node *capus_function_node(const capus_function *function, size_t index) {
  return at(function->proto->node(), index);
}
capus_opset_import capus_function_opset_import(const capus_function *function, size_t index) {
  return opsetAt(function->proto->opset_import(), index);
}
const capus_value_info *capus_function_value_info(const capus_function *function, size_t index) {
  return index < function->valueInfos.size() ? wrap(function->valueInfos[index]) : nullptr;
}

}  // extern "C"
