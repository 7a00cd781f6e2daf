#include "schema.h"

#include "messages.h"

namespace apus {

// The table follows onnx-ml.proto of ONNX 1.23 (IR version 14), which is newer than libonnx: fields unknown to libonnx
// reach us as the bytes that the scanner has already checked.
Child childOf(Kind parent, uint32_t field) {
  switch (parent) {
    case Kind::model:
      switch (field) {
        case 7: return {Kind::graph, "graph"};
        case 8: return {Kind::opsetImport, "opset_import"};
        case 14: return {Kind::entry, "metadata_props"};
        case 20: return {Kind::trainingInfo, "training_info"};
        case 25: return {Kind::function, "functions"};
      }
      break;
    case Kind::graph:
      switch (field) {
        case 1: return {Kind::node, "node"};
        case 5: return {Kind::tensor, "initializer"};
        case 11: return {Kind::valueInfo, "input"};
        case 12: return {Kind::valueInfo, "output"};
        case 13: return {Kind::valueInfo, "value_info"};
        case 14: return {Kind::annotation, "quantization_annotation"};
        case 15: return {Kind::sparseTensor, "sparse_initializer"};
        case 16: return {Kind::entry, "metadata_props"};
      }
      break;
    case Kind::node:
      switch (field) {
        case 5: return {Kind::attribute, "attribute"};
        case 9: return {Kind::entry, "metadata_props"};
      }
      break;
    case Kind::attribute:
      switch (field) {
        case 5: return {Kind::tensor, "t"};
        case 6: return {Kind::graph, "g"};
        case 10: return {Kind::tensor, "tensors"};
        case 11: return {Kind::graph, "graphs"};
        case 14: return {Kind::type, "tp"};
        case 15: return {Kind::type, "type_protos"};
        case 22: return {Kind::sparseTensor, "sparse_tensor"};
        case 23: return {Kind::sparseTensor, "sparse_tensors"};
      }
      break;
    case Kind::tensor:
      switch (field) {
        case 3: return {Kind::segment, "segment"};
        case 13: return {Kind::entry, "external_data"};
        case 16: return {Kind::entry, "metadata_props"};
      }
      break;
    case Kind::sparseTensor:
      switch (field) {
        case 1: return {Kind::tensor, "values"};
        case 2: return {Kind::tensor, "indices"};
      }
      break;
    case Kind::function:
      switch (field) {
        case 7: return {Kind::node, "node"};
        case 9: return {Kind::opsetImport, "opset_import"};
        case 11: return {Kind::attribute, "attribute_proto"};
        case 12: return {Kind::valueInfo, "value_info"};
        case 14: return {Kind::entry, "metadata_props"};
      }
      break;
    case Kind::trainingInfo:
      switch (field) {
        case 1: return {Kind::graph, "initialization"};
        case 2: return {Kind::graph, "algorithm"};
        case 3: return {Kind::entry, "initialization_binding"};
        case 4: return {Kind::entry, "update_binding"};
      }
      break;
    case Kind::valueInfo:
      switch (field) {
        case 2: return {Kind::type, "type"};
        case 4: return {Kind::entry, "metadata_props"};
      }
      break;
    case Kind::type:
      switch (field) {
        case 1: return {Kind::typeTensor, "tensor_type"};
        case 4: return {Kind::typeSequence, "sequence_type"};
        case 5: return {Kind::typeMap, "map_type"};
        case 7: return {Kind::typeOpaque, "opaque_type"};
        case 8: return {Kind::typeSparseTensor, "sparse_tensor_type"};
        case 9: return {Kind::typeOptional, "optional_type"};
      }
      break;
    case Kind::typeTensor:
    case Kind::typeSparseTensor:
      if (field == 2) return {Kind::shape, "shape"};
      break;
    case Kind::typeSequence:
    case Kind::typeOptional:
      if (field == 1) return {Kind::type, "elem_type"};
      break;
    case Kind::typeMap:
      if (field == 2) return {Kind::type, "value_type"};
      break;
    case Kind::shape:
      if (field == 1) return {Kind::dimension, "dim"};
      break;
    case Kind::annotation:
      if (field == 2) return {Kind::entry, "quant_parameter_tensor_names"};
      break;
    default:
      break;
  }
  return {Kind::none, ""};
}

Element payloadElement(uint32_t field) {
  switch (field) {
    case 4: return Element::fixed32;
    case 5:
    case 7:
    case 11: return Element::varint;
    case 6: return Element::string;
    case 9: return Element::raw;
    case 10: return Element::fixed64;
    default: return Element::none;
  }
}

uint64_t objectSize(Kind kind) {
  switch (kind) {
    case Kind::none: return 0;
    case Kind::model: return sizeof(onnx::ModelProto);
    case Kind::graph: return sizeof(onnx::GraphProto);
    case Kind::node: return sizeof(onnx::NodeProto);
    case Kind::attribute: return sizeof(onnx::AttributeProto);
    case Kind::tensor: return sizeof(onnx::TensorProto);
    case Kind::sparseTensor: return sizeof(onnx::SparseTensorProto);
    case Kind::function: return sizeof(onnx::FunctionProto);
    case Kind::trainingInfo: return sizeof(onnx::TrainingInfoProto);
    case Kind::valueInfo: return sizeof(onnx::ValueInfoProto);
    case Kind::type: return sizeof(onnx::TypeProto);
    case Kind::typeTensor: return sizeof(onnx::TypeProto_Tensor);
    case Kind::typeSparseTensor: return sizeof(onnx::TypeProto_SparseTensor);
    case Kind::typeSequence: return sizeof(onnx::TypeProto_Sequence);
    case Kind::typeOptional: return sizeof(onnx::TypeProto_Optional);
    case Kind::typeMap: return sizeof(onnx::TypeProto_Map);
    case Kind::typeOpaque: return sizeof(onnx::TypeProto_Opaque);
    case Kind::shape: return sizeof(onnx::TensorShapeProto);
    case Kind::dimension: return sizeof(onnx::TensorShapeProto_Dimension);
    case Kind::entry: return sizeof(onnx::StringStringEntryProto);
    case Kind::opsetImport: return sizeof(onnx::OperatorSetIdProto);
    case Kind::segment: return sizeof(onnx::TensorProto_Segment);
    case Kind::annotation: return sizeof(onnx::TensorAnnotation);
    case Kind::group: return sizeof(google::protobuf::UnknownFieldSet);
  }
  return 0;
}

}  // namespace apus
