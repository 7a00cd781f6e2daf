// The border between Apus and libonnx: a flat C view of an ONNX model, and a builder that writes one.
//
// Everything here is internal to the package; Swift's ApusONNX is the only caller.
//
// Rules of the border
//  - No exception and no abort crosses it. A function that can fail returns capus_status and fills capus_error
//    (which may be NULL); on failure its outputs are untouched. All other functions neither allocate nor fail:
//    an index out of range yields NULL or an empty capus_bytes.
//  - Text is bytes, not UTF-8: names are returned exactly as the file holds them, NULs included.
//  - Every handle and every capus_bytes belongs to the model (or writer) it came from and dies with it.
//  - A model may be read from several threads at once; a writer belongs to one thread at a time.
#ifndef CAPUS_ONNX_H
#define CAPUS_ONNX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// MARK: - Errors and bytes

typedef enum {
  CAPUS_OK = 0,
  CAPUS_INVALID_MODEL = 1,     ///< The bytes are not a well-formed ModelProto.
  CAPUS_OUT_OF_MEMORY = 2,     ///< The allocator failed.
  CAPUS_LIMIT_EXCEEDED = 3,    ///< A limit of capus_limits, or protobuf's 2 GiB, would be exceeded.
  CAPUS_INVALID_ARGUMENT = 4,  ///< The caller broke the contract of a function.
  CAPUS_IO_ERROR = 5,          ///< Writing to a file descriptor failed.
  CAPUS_INTERNAL_ERROR = 6,    ///< libprotobuf refused bytes that the scanner had accepted, or threw.
} capus_status;

typedef struct {
  capus_status code;
  char message[240];  ///< NUL-terminated, cut to fit.
} capus_error;

/// The message of `error` as a C string.
const char *capus_error_message(const capus_error *error);

/// `size` bytes at `data`. Never NUL-terminated. `data` is NULL where there is nothing to point at.
typedef struct {
  const uint8_t *data;
  size_t size;
} capus_bytes;

typedef struct {
  capus_bytes key;
  capus_bytes value;
} capus_entry;

// MARK: - Model

typedef struct capus_model capus_model;
typedef struct capus_graph capus_graph;
typedef struct capus_node capus_node;
typedef struct capus_attribute capus_attribute;
typedef struct capus_tensor capus_tensor;
typedef struct capus_sparse_tensor capus_sparse_tensor;
typedef struct capus_type capus_type;
typedef struct capus_value_info capus_value_info;
typedef struct capus_function capus_function;

typedef struct {
  uint32_t max_depth;         ///< Deepest nesting of protobuf messages and groups. 0 means 200.
  uint64_t max_parsed_bytes;  ///< Most memory the parsed structure (without payloads) may take. 0 means 1 GiB.
} capus_limits;

/// Parses the `size` bytes at `data` as a ModelProto.
///
/// The bytes are borrowed for the life of the model: tensor payloads (raw_data and the typed data fields, wherever
/// tensors occur) are not copied, they stay views into `data`. What libonnx parses is the model without them.
/// `limits` may be NULL.
capus_status capus_model_parse(const uint8_t *data, size_t size, const capus_limits *limits, capus_model **model,
                               capus_error *error);

/// Releases the model. NULL is allowed.
void capus_model_destroy(capus_model *model);

typedef struct {
  int64_t ir_version;
  int64_t model_version;
  capus_bytes producer_name;
  capus_bytes producer_version;
  capus_bytes domain;
  capus_bytes doc_string;
  const capus_graph *graph;  ///< NULL when the model has none.
  size_t opset_import_count;
  size_t function_count;
  size_t training_info_count;
  size_t metadata_count;
} capus_model_info;

void capus_model_read(const capus_model *model, capus_model_info *info);

typedef struct {
  capus_bytes domain;
  int64_t version;
} capus_opset_import;

capus_opset_import capus_model_opset_import(const capus_model *model, size_t index);
const capus_function *capus_model_function(const capus_model *model, size_t index);

// MARK: - Metadata

/// The messages that carry metadata_props.
typedef enum {
  CAPUS_MODEL,
  CAPUS_GRAPH,
  CAPUS_NODE,
  CAPUS_VALUE_INFO,
  CAPUS_TENSOR,
  CAPUS_FUNCTION,
} capus_kind;

/// Copies up to `capacity` metadata entries of the message behind `handle` to `entries` and returns how many there are.
size_t capus_metadata(capus_kind kind, const void *handle, capus_entry *entries, size_t capacity);

// MARK: - Graph

typedef struct {
  capus_bytes name;
  capus_bytes doc_string;
  size_t node_count;
  size_t input_count;
  size_t output_count;
  size_t value_info_count;
  size_t initializer_count;
  size_t sparse_initializer_count;
  size_t quantization_annotation_count;
  size_t metadata_count;
} capus_graph_info;

void capus_graph_read(const capus_graph *graph, capus_graph_info *info);
const capus_node *capus_graph_node(const capus_graph *graph, size_t index);
const capus_value_info *capus_graph_input(const capus_graph *graph, size_t index);
const capus_value_info *capus_graph_output(const capus_graph *graph, size_t index);
const capus_value_info *capus_graph_value_info(const capus_graph *graph, size_t index);
const capus_tensor *capus_graph_initializer(const capus_graph *graph, size_t index);
const capus_sparse_tensor *capus_graph_sparse_initializer(const capus_graph *graph, size_t index);

/// Copies up to `capacity` entries of the quantization annotation at `index` to `entries`, its tensor's name to
/// `tensor_name`, and returns how many entries there are.
size_t capus_graph_quantization_annotation(const capus_graph *graph, size_t index, capus_bytes *tensor_name,
                                           capus_entry *entries, size_t capacity);

// MARK: - Node

typedef struct {
  capus_bytes name;
  capus_bytes op_type;
  capus_bytes domain;
  capus_bytes overload;
  capus_bytes doc_string;
  size_t input_count;
  size_t output_count;
  size_t attribute_count;
  size_t metadata_count;
} capus_node_info;

void capus_node_read(const capus_node *node, capus_node_info *info);
/// The name of an input; an empty name with a non-NULL pointer is an optional input left out.
capus_bytes capus_node_input(const capus_node *node, size_t index);
capus_bytes capus_node_output(const capus_node *node, size_t index);
const capus_attribute *capus_node_attribute(const capus_node *node, size_t index);

// MARK: - Attribute

/// AttributeProto.AttributeType. Other numbers can come from files: `type` is an integer for that reason.
enum {
  CAPUS_ATTRIBUTE_UNDEFINED = 0,
  CAPUS_ATTRIBUTE_FLOAT = 1,
  CAPUS_ATTRIBUTE_INT = 2,
  CAPUS_ATTRIBUTE_STRING = 3,
  CAPUS_ATTRIBUTE_TENSOR = 4,
  CAPUS_ATTRIBUTE_GRAPH = 5,
  CAPUS_ATTRIBUTE_FLOATS = 6,
  CAPUS_ATTRIBUTE_INTS = 7,
  CAPUS_ATTRIBUTE_STRINGS = 8,
  CAPUS_ATTRIBUTE_TENSORS = 9,
  CAPUS_ATTRIBUTE_GRAPHS = 10,
  CAPUS_ATTRIBUTE_SPARSE_TENSOR = 11,
  CAPUS_ATTRIBUTE_SPARSE_TENSORS = 12,
  CAPUS_ATTRIBUTE_TYPE_PROTO = 13,
  CAPUS_ATTRIBUTE_TYPE_PROTOS = 14,
};

typedef struct {
  capus_bytes name;
  capus_bytes ref_attr_name;
  capus_bytes doc_string;
  bool has_type;  ///< Files of IR version 1 and 2 may leave the type out; the value then says which it is.
  int64_t type;
  bool has_f, has_i, has_s;
  float f;
  int64_t i;
  capus_bytes s;
  const capus_tensor *tensor;         ///< NULL when absent, like the next three.
  const capus_graph *graph;
  const capus_sparse_tensor *sparse_tensor;
  const capus_type *type_proto;
  const float *floats;
  size_t float_count;
  const int64_t *ints;
  size_t int_count;
  size_t string_count;
  size_t tensor_count;
  size_t graph_count;
  size_t sparse_tensor_count;
  size_t type_proto_count;
} capus_attribute_info;

void capus_attribute_read(const capus_attribute *attribute, capus_attribute_info *info);
capus_bytes capus_attribute_string(const capus_attribute *attribute, size_t index);
const capus_tensor *capus_attribute_tensor(const capus_attribute *attribute, size_t index);
const capus_graph *capus_attribute_graph(const capus_attribute *attribute, size_t index);
const capus_sparse_tensor *capus_attribute_sparse_tensor(const capus_attribute *attribute, size_t index);
const capus_type *capus_attribute_type_proto(const capus_attribute *attribute, size_t index);

// MARK: - Types

typedef struct {
  capus_bytes name;
  capus_bytes doc_string;
  const capus_type *type;  ///< NULL when absent.
  size_t metadata_count;
} capus_value_info_info;

void capus_value_info_read(const capus_value_info *value, capus_value_info_info *info);

typedef enum {
  CAPUS_TYPE_NONE,  ///< A TypeProto without a value.
  CAPUS_TYPE_TENSOR,
  CAPUS_TYPE_SPARSE_TENSOR,
  CAPUS_TYPE_SEQUENCE,
  CAPUS_TYPE_OPTIONAL,
  CAPUS_TYPE_MAP,
  CAPUS_TYPE_OPAQUE,
} capus_type_kind;

typedef struct {
  capus_type_kind kind;
  int32_t elem_type;           ///< Tensor and sparse tensor: element type. Map: key type. A raw number.
  bool has_shape;              ///< Tensor and sparse tensor: whether the rank is known.
  size_t rank;
  const capus_type *element;   ///< Sequence, optional: element type. Map: value type. NULL when absent.
  capus_bytes denotation;
  capus_bytes opaque_domain;
  capus_bytes opaque_name;
} capus_type_info;

void capus_type_read(const capus_type *type, capus_type_info *info);

typedef enum { CAPUS_DIM_UNKNOWN, CAPUS_DIM_VALUE, CAPUS_DIM_PARAM } capus_dim_kind;

typedef struct {
  capus_dim_kind kind;
  int64_t value;      ///< Raw: may be negative in a malformed file.
  capus_bytes param;
  capus_bytes denotation;
} capus_dim;

capus_dim capus_type_dim(const capus_type *type, size_t index);

// MARK: - Tensors

typedef struct {
  capus_bytes name;
  capus_bytes doc_string;
  const int64_t *dims;  ///< Raw: may hold negative numbers in a malformed file.
  size_t rank;
  bool has_data_type;
  int32_t data_type;      ///< A raw number: libonnx's enumeration is older than ONNX's.
  int64_t data_location;  ///< 0 in the model, 1 external; other numbers as found.
  bool has_segment;
  bool has_raw_data;
  capus_bytes raw_data;   ///< A view into the bytes given to capus_model_parse.
  uint64_t float_count;   ///< How many elements each typed field holds.
  uint64_t int32_count;
  uint64_t string_count;
  uint64_t int64_count;
  uint64_t double_count;
  uint64_t uint64_count;
  size_t external_count;
  size_t metadata_count;
} capus_tensor_info;

void capus_tensor_read(const capus_model *model, const capus_tensor *tensor, capus_tensor_info *info);
/// An entry of external_data.
capus_entry capus_tensor_external(const capus_tensor *tensor, size_t index);

/// The typed data fields, by their field numbers.
typedef enum {
  CAPUS_FLOAT_DATA = 4,
  CAPUS_INT32_DATA = 5,
  CAPUS_STRING_DATA = 6,
  CAPUS_INT64_DATA = 7,
  CAPUS_DOUBLE_DATA = 10,
  CAPUS_UINT64_DATA = 11,
} capus_data_field;

/// The elements of float_data or double_data as little-endian bytes in the model's bytes, where the file holds them in
/// one piece; empty otherwise. The address has any alignment.
capus_bytes capus_tensor_in_place(const capus_model *model, const capus_tensor *tensor, capus_data_field field);

/// Decodes the first `count` elements of a typed field to `out`, `element_size` bytes each.
///
/// Numbers are cut to their low bytes, as ONNX's own reader does with int32_data of narrow types. Element sizes: float_data
/// 4; double_data 8; int32_data 1, 2, 4; int64_data 8; uint64_data 4, 8. `count` must be what the field holds.
capus_status capus_tensor_decode(const capus_model *model, const capus_tensor *tensor, capus_data_field field,
                                 size_t element_size, void *out, uint64_t count, capus_error *error);

/// Points `strings` at the first `count` elements of string_data. `count` must be what the field holds.
capus_status capus_tensor_strings(const capus_model *model, const capus_tensor *tensor, capus_bytes *strings, uint64_t count,
                                  capus_error *error);

typedef struct {
  const capus_tensor *values;   ///< NULL when absent.
  const capus_tensor *indices;  ///< NULL when absent.
  const int64_t *dims;
  size_t rank;
} capus_sparse_tensor_info;

void capus_sparse_tensor_read(const capus_sparse_tensor *sparse, capus_sparse_tensor_info *info);

// MARK: - Functions

typedef struct {
  capus_bytes name;
  capus_bytes domain;
  capus_bytes overload;
  capus_bytes doc_string;
  size_t input_count;
  size_t output_count;
  size_t attribute_name_count;     ///< Attributes without a default.
  size_t attribute_default_count;  ///< Attributes with a default (IR version 9 and later).
  size_t node_count;
  size_t opset_import_count;
  size_t value_info_count;
  size_t metadata_count;
} capus_function_info;

void capus_function_read(const capus_function *function, capus_function_info *info);
capus_bytes capus_function_input(const capus_function *function, size_t index);
capus_bytes capus_function_output(const capus_function *function, size_t index);
capus_bytes capus_function_attribute_name(const capus_function *function, size_t index);
const capus_attribute *capus_function_attribute_default(const capus_function *function, size_t index);
const capus_node *capus_function_node(const capus_function *function, size_t index);
capus_opset_import capus_function_opset_import(const capus_function *function, size_t index);
const capus_value_info *capus_function_value_info(const capus_function *function, size_t index);

#ifdef __cplusplus
}
#endif

#include "capus_onnx_writer.h"

#endif
