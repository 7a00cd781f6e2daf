// Building and writing an ONNX model; part of capus_onnx.h, whose rules hold here too.
//
// A writer holds one model under construction. Text and numbers are copied into it; a tensor's data are borrowed until the
// writer is destroyed, and go straight from there to the output.
#ifndef CAPUS_ONNX_WRITER_H
#define CAPUS_ONNX_WRITER_H

#include "capus_onnx.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct capus_writer capus_writer;
typedef struct capus_out_graph capus_out_graph;
typedef struct capus_out_node capus_out_node;
typedef struct capus_out_attribute capus_out_attribute;
typedef struct capus_out_tensor capus_out_tensor;
typedef struct capus_out_sparse_tensor capus_out_sparse_tensor;
typedef struct capus_out_type capus_out_type;
typedef struct capus_out_value_info capus_out_value_info;
typedef struct capus_out_function capus_out_function;

capus_status capus_writer_create(capus_writer **writer, capus_error *error);
/// Releases the writer. NULL is allowed.
void capus_writer_destroy(capus_writer *writer);

// In all functions below an empty capus_bytes leaves an optional text field out. Functions that return a handle return
// NULL on failure.

typedef struct {
  int64_t ir_version;
  int64_t model_version;
  bool has_model_version;
  capus_bytes producer_name;
  capus_bytes producer_version;
  capus_bytes domain;
  capus_bytes doc_string;
} capus_out_model_fields;

capus_status capus_writer_set_model(capus_writer *writer, const capus_out_model_fields *fields, capus_error *error);
capus_status capus_writer_add_opset_import(capus_writer *writer, capus_bytes domain, int64_t version, capus_error *error);

/// Adds a metadata entry to the message behind `handle`: the writer itself for CAPUS_MODEL, else a capus_out_ handle.
capus_status capus_writer_add_metadata(capus_writer *writer, capus_kind kind, void *handle, capus_entry entry,
                                       capus_error *error);

/// The model's graph, made when first asked for.
capus_out_graph *capus_writer_graph(capus_writer *writer, capus_bytes name, capus_bytes doc_string, capus_error *error);

/// Which list of a graph or function a value belongs to.
typedef enum { CAPUS_INPUT, CAPUS_OUTPUT, CAPUS_VALUE } capus_value_role;

capus_out_value_info *capus_out_graph_add_value_info(capus_writer *writer, capus_out_graph *graph, capus_value_role role,
                                                     capus_bytes name, capus_bytes doc_string, capus_error *error);
capus_out_tensor *capus_out_graph_add_initializer(capus_writer *writer, capus_out_graph *graph, capus_error *error);
capus_out_sparse_tensor *capus_out_graph_add_sparse_initializer(capus_writer *writer, capus_out_graph *graph,
                                                                capus_error *error);
capus_status capus_out_graph_add_quantization_annotation(capus_writer *writer, capus_out_graph *graph,
                                                         capus_bytes tensor_name, const capus_entry *entries,
                                                         size_t entry_count, capus_error *error);

typedef struct {
  capus_bytes name;
  capus_bytes op_type;
  capus_bytes domain;
  capus_bytes overload;
  capus_bytes doc_string;
  const capus_bytes *inputs;  ///< An empty name is an optional input left out.
  size_t input_count;
  const capus_bytes *outputs;
  size_t output_count;
} capus_out_node_fields;

capus_out_node *capus_out_graph_add_node(capus_writer *writer, capus_out_graph *graph, const capus_out_node_fields *fields,
                                         capus_error *error);

typedef struct {
  capus_bytes name;
  capus_bytes ref_attr_name;
  capus_bytes doc_string;
  bool has_type;
  int64_t type;  ///< Any number: those libonnx does not know are written too.
  bool has_f, has_i, has_s;
  float f;
  int64_t i;
  capus_bytes s;
  const float *floats;
  size_t float_count;
  const int64_t *ints;
  size_t int_count;
  const capus_bytes *strings;
  size_t string_count;
} capus_out_attribute_fields;

capus_out_attribute *capus_out_node_add_attribute(capus_writer *writer, capus_out_node *node,
                                                  const capus_out_attribute_fields *fields, capus_error *error);

/// A message inside an attribute: the singular field (t, g, sparse_tensor, tp), or one more element of the repeated one.
capus_out_tensor *capus_out_attribute_tensor(capus_writer *writer, capus_out_attribute *attribute, bool repeated,
                                             capus_error *error);
capus_out_graph *capus_out_attribute_graph(capus_writer *writer, capus_out_attribute *attribute, bool repeated,
                                           capus_bytes name, capus_bytes doc_string, capus_error *error);
capus_out_sparse_tensor *capus_out_attribute_sparse_tensor(capus_writer *writer, capus_out_attribute *attribute, bool repeated,
                                                           capus_error *error);
capus_out_type *capus_out_attribute_type(capus_writer *writer, capus_out_attribute *attribute, bool repeated,
                                         capus_error *error);

typedef struct {
  capus_bytes name;
  capus_bytes doc_string;
  int32_t data_type;
  const int64_t *dims;
  size_t rank;
  bool has_raw_data;           ///< False for string tensors.
  capus_bytes raw_data;        ///< Borrowed until the writer is destroyed.
  const capus_bytes *strings;  ///< Copied.
  size_t string_count;
} capus_out_tensor_fields;

capus_status capus_out_tensor_set(capus_writer *writer, capus_out_tensor *tensor, const capus_out_tensor_fields *fields,
                                  capus_error *error);

capus_out_tensor *capus_out_sparse_tensor_values(capus_writer *writer, capus_out_sparse_tensor *sparse, capus_error *error);
capus_out_tensor *capus_out_sparse_tensor_indices(capus_writer *writer, capus_out_sparse_tensor *sparse, capus_error *error);
capus_status capus_out_sparse_tensor_set_dims(capus_writer *writer, capus_out_sparse_tensor *sparse, const int64_t *dims,
                                              size_t rank, capus_error *error);

/// The type of a value, made when first asked for.
capus_out_type *capus_out_value_info_type(capus_writer *writer, capus_out_value_info *value, capus_error *error);

typedef struct {
  capus_type_kind kind;
  int32_t elem_type;  ///< Tensor, sparse tensor: element type. Map: key type.
  bool has_shape;
  const capus_dim *dims;
  size_t rank;
  capus_bytes denotation;
  capus_bytes opaque_domain;
  capus_bytes opaque_name;
} capus_out_type_fields;

/// Sets a type, and returns through `element` the type inside a sequence or optional, or a map's value type, to be set in
/// turn; NULL for other kinds. `element` may be NULL.
capus_status capus_out_type_set(capus_writer *writer, capus_out_type *type, const capus_out_type_fields *fields,
                                capus_out_type **element, capus_error *error);

typedef struct {
  capus_bytes name;
  capus_bytes domain;
  capus_bytes overload;
  capus_bytes doc_string;
  const capus_bytes *inputs;
  size_t input_count;
  const capus_bytes *outputs;
  size_t output_count;
  const capus_bytes *attribute_names;
  size_t attribute_name_count;
} capus_out_function_fields;

capus_out_function *capus_writer_add_function(capus_writer *writer, const capus_out_function_fields *fields,
                                              capus_error *error);
capus_status capus_out_function_add_opset_import(capus_writer *writer, capus_out_function *function, capus_bytes domain,
                                                 int64_t version, capus_error *error);
capus_out_node *capus_out_function_add_node(capus_writer *writer, capus_out_function *function,
                                            const capus_out_node_fields *fields, capus_error *error);
capus_out_attribute *capus_out_function_add_attribute_default(capus_writer *writer, capus_out_function *function,
                                                              const capus_out_attribute_fields *fields, capus_error *error);
capus_out_value_info *capus_out_function_add_value_info(capus_writer *writer, capus_out_function *function, capus_bytes name,
                                                        capus_bytes doc_string, capus_error *error);

/// Serialises the model to a new buffer, to be released with capus_buffer_destroy(). A model of 2 GiB or more is an error
/// (CAPUS_LIMIT_EXCEEDED): no reader of ONNX files takes it without external data. Call it once everything is added.
capus_status capus_writer_write_to_buffer(capus_writer *writer, uint8_t **data, size_t *size, capus_error *error);
void capus_buffer_destroy(uint8_t *data);

/// As above, to a file descriptor, from its current position. The descriptor stays open.
capus_status capus_writer_write_to_fd(capus_writer *writer, int fd, capus_error *error);

#ifdef __cplusplus
}
#endif

#endif
