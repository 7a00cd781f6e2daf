/// Apus: an embeddable inference runtime for ONNX models.
///
/// This header is the whole public interface of libapus and its manual.
///
/// # Objects
///
/// Everything is reached through opaque handles:
///
///   apus_model     an ONNX model in memory
///   apus_session   a model made ready to run
///   apus_value     a tensor or another value that goes into a run or comes out of it
///   apus_type      what a value is or may be: kind, element type, dimensions
///   apus_options   how a session is made
///   apus_pool      threads that sessions share
///   apus_run       a handle on runs in progress, to cancel them or to set a deadline
///   apus_error     what went wrong
///   apus_node      a node of the graph, for the functions of the caller's own operators
///
/// A `create` function gives a handle that its `destroy` function takes back. `destroy` of NULL does nothing. A handle may
/// be destroyed while objects made from it live on: a session keeps what it needs of its model, a value of its session.
///
/// # Ownership
///
/// Functions borrow their arguments for the duration of the call, unless they say otherwise. A pointer to a `const` object or
/// to characters that a getter returns belongs to the object it was asked of and lives as long as that object does. Getters
/// do not allocate.
///
/// # Threads
///
/// A pointer to `const` in a parameter means that the object may be used by several threads at the same time; a pointer to
/// non-`const` that only one thread may use it at a time. In particular, many threads may run one session at once: each
/// run takes memory of its own, which is kept for later runs.
///
/// # Errors
///
/// A function that can fail returns `apus_error *`: NULL on success, otherwise an error that the caller owns. On failure
/// outputs are untouched, except that memory given for results of a run may have been written to. No input, however
/// malformed, ends the process.
///
/// # Strings
///
/// Names in ONNX are bytes. They are given with their length and, for convenience, with a terminating NUL that the length
/// does not count; a name may hold a NUL itself. Names that the caller gives are NUL-terminated UTF-8, unless a length
/// is asked for.
///
/// # Versions
///
/// Released functions, enumerators and structs never change their meaning; new ones are added. Compare APUS_VERSION_NUMBER
/// (what the program was compiled with) with apus_version_number() (what it runs with): a library runs programs
/// compiled with an older header of the same major version.
#ifndef APUS_H
#define APUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) || defined(__clang__)
#define APUS_API __attribute__((visibility("default")))
#define APUS_MUST_USE __attribute__((warn_unused_result))
#else
#define APUS_API
#define APUS_MUST_USE
#endif

// ---- Version --------------------------------------------------------------------------------------------------------

#define APUS_VERSION_MAJOR 0
#define APUS_VERSION_MINOR 1
#define APUS_VERSION_PATCH 0
#define APUS_VERSION_NUMBER (APUS_VERSION_MAJOR * 10000 + APUS_VERSION_MINOR * 100 + APUS_VERSION_PATCH)

/// The version of the library as text, "0.1.0".
APUS_API const char *apus_version(void);

/// The version of the library as a number: major * 10000 + minor * 100 + patch.
APUS_API uint32_t apus_version_number(void);

// ---- Errors ---------------------------------------------------------------------------------------------------------

/// What kind of thing went wrong. Gaps leave room within each family.
typedef enum apus_error_code {
  /// No error: what apus_error_get_code(NULL) gives.
  APUS_OK = 0,

  // The call.
  /// An argument is wrong: a null pointer, an unknown option, an index out of range.
  APUS_ERROR_INVALID_ARGUMENT = 1,
  /// Nothing has that name.
  APUS_ERROR_NOT_FOUND = 2,
  /// A value has another kind or element type than is expected.
  APUS_ERROR_TYPE_MISMATCH = 3,
  /// A value has another shape than the model or an operator can take.
  APUS_ERROR_SHAPE_MISMATCH = 4,

  // The model.
  /// A file cannot be opened, read or written.
  APUS_ERROR_IO = 20,
  /// The bytes are no valid ONNX model, or the graph contradicts itself.
  APUS_ERROR_INVALID_MODEL = 21,
  /// The model uses operators, types or versions that are unknown.
  APUS_ERROR_UNSUPPORTED = 22,
  /// External data are missing, outside of the model's directory, or of the wrong size.
  APUS_ERROR_EXTERNAL_DATA = 23,

  // The run.
  /// An operator met values that it cannot work on: an index out of range, say.
  APUS_ERROR_INVALID_VALUE = 40,
  /// A function of an operator of the caller failed, or made something else than it had inferred.
  APUS_ERROR_HOST_OPERATOR = 41,

  // Memory.
  /// The limit set by the caller, or by the machine (physical memory, cgroup, RLIMIT_AS), would have been passed.
  APUS_ERROR_MEMORY_LIMIT = 60,
  /// The system refused memory although no limit would have been passed.
  APUS_ERROR_OUT_OF_MEMORY = 61,

  // Interruption.
  /// The run was cancelled.
  APUS_ERROR_CANCELLED = 80,
  /// The run passed its deadline.
  APUS_ERROR_DEADLINE_EXCEEDED = 81,

  /// A fault of Apus itself.
  APUS_ERROR_INTERNAL = 100
} apus_error_code;

/// An error, owned by whoever received it.
typedef struct apus_error apus_error;

/// The code; APUS_OK for NULL.
APUS_API apus_error_code apus_error_get_code(const apus_error *error);

/// A message for people: what was expected and what was found. "" for NULL.
APUS_API const char *apus_error_message(const apus_error *error);

/// The node of the graph that the error concerns, by operator and name; NULL where it concerns none.
APUS_API const char *apus_error_node(const apus_error *error);

APUS_API void apus_error_destroy(apus_error *error);

/// An error of the caller's own, for functions of operators to return. A number that is no code becomes
/// APUS_ERROR_HOST_OPERATOR; `message` is copied and may be NULL. Never NULL.
APUS_API APUS_MUST_USE apus_error *apus_error_create(apus_error_code code, const char *message);

// ---- Types ----------------------------------------------------------------------------------------------------------

/// Element types, numbered as ONNX's TensorProto.DataType.
///
/// Elements lie in row-major order in the machine's byte order. Complex numbers are pairs (real, imaginary). bool is one
/// byte, 0 or 1. Types below 8 bits are packed without gaps, the first element in the lowest bits: two 4-bit elements in
/// a byte, the even one in its low half; four 2-bit elements in a byte; four 6-bit elements in three bytes, read as one
/// little-endian number. Unused bits of the last byte are zero. Strings have no layout in memory: see
/// apus_value_create_strings().
typedef enum apus_element_type {
  APUS_UNDEFINED = 0,
  APUS_FLOAT32 = 1,
  APUS_UINT8 = 2,
  APUS_INT8 = 3,
  APUS_UINT16 = 4,
  APUS_INT16 = 5,
  APUS_INT32 = 6,
  APUS_INT64 = 7,
  APUS_STRING = 8,
  APUS_BOOL = 9,
  APUS_FLOAT16 = 10,
  APUS_FLOAT64 = 11,
  APUS_UINT32 = 12,
  APUS_UINT64 = 13,
  APUS_COMPLEX64 = 14,
  APUS_COMPLEX128 = 15,
  APUS_BFLOAT16 = 16,
  APUS_FLOAT8E4M3FN = 17,
  APUS_FLOAT8E4M3FNUZ = 18,
  APUS_FLOAT8E5M2 = 19,
  APUS_FLOAT8E5M2FNUZ = 20,
  APUS_UINT4 = 21,
  APUS_INT4 = 22,
  APUS_FLOAT4E2M1 = 23,
  APUS_FLOAT8E8M0 = 24,
  APUS_UINT2 = 25,
  APUS_INT2 = 26,
  APUS_FLOAT6E2M3 = 27,
  APUS_FLOAT6E3M2 = 28
} apus_element_type;

/// Bits of one element in memory; 0 for strings and for numbers that are no element type.
APUS_API size_t apus_element_type_bits(apus_element_type type);

/// The name as ONNX writes it ("float", "int64", "bfloat16"); NULL for a number that is no element type.
APUS_API const char *apus_element_type_name(apus_element_type type);

/// What sort of value something is.
typedef enum apus_value_kind {
  /// A dense tensor, of strings included.
  APUS_KIND_TENSOR = 1,
  /// An ordered list of values of one type.
  APUS_KIND_SEQUENCE = 2,
  /// Pairs of an integer or string key and a value.
  APUS_KIND_MAP = 3,
  /// A value that may be absent.
  APUS_KIND_OPTIONAL = 4,
  /// A tensor of which only some elements are stored.
  APUS_KIND_SPARSE = 5
} apus_value_kind;

/// The type of an input, an output or a value.
typedef struct apus_type apus_type;

/// The type of dense tensors of any shape.
APUS_API APUS_MUST_USE apus_error *apus_type_create_tensor(apus_element_type element, apus_type **out);
/// The type of dense tensors of `rank` dimensions. A dimension is a size, or negative where it is not fixed; then `symbols[axis]` is
/// its name. `symbols`, and each of its entries, may be NULL.
APUS_API APUS_MUST_USE apus_error *apus_type_create_tensor_of_shape(apus_element_type element, const int64_t *dimensions,
                                                                    const char *const *symbols, size_t rank, apus_type **out);
/// The type of sequences of `element`.
APUS_API APUS_MUST_USE apus_error *apus_type_create_sequence(const apus_type *element, apus_type **out);
/// The type of maps from `key`, an integer type of 8 bits or more or string, to `value`.
APUS_API APUS_MUST_USE apus_error *apus_type_create_map(apus_element_type key, const apus_type *value, apus_type **out);
/// The type of sparse tensors of any shape.
APUS_API APUS_MUST_USE apus_error *apus_type_create_sparse(apus_element_type element, apus_type **out);
/// The type of optionals of `element`.
APUS_API APUS_MUST_USE apus_error *apus_type_create_optional(const apus_type *element, apus_type **out);
APUS_API void apus_type_destroy(apus_type *type);

APUS_API apus_value_kind apus_type_kind(const apus_type *type);

/// The element type of a (dense or sparse) tensor type, the type of a map's keys; APUS_UNDEFINED for others.
APUS_API apus_element_type apus_type_element_type(const apus_type *type);

/// The type of a sequence's, map's or optional's values; NULL for others.
APUS_API const apus_type *apus_type_element(const apus_type *type);

/// Whether the type is a tensor type whose number of dimensions is known; then `*rank` (may be NULL) is set.
APUS_API bool apus_type_rank(const apus_type *type, size_t *rank);

/// Dimension `axis` of a tensor type: its size, or -1 where it is not fixed. Then `*symbol` (may be NULL) is its name as the
/// model spells it ("batch"), the expression that was inferred for it ("2*seq"), or NULL where nothing is known.
/// -1 for an axis beyond the rank.
APUS_API int64_t apus_type_dimension(const apus_type *type, size_t axis, const char **symbol);

/// The type as onnxruntime spells it, without shapes: "tensor(float)", "seq(map(int64,tensor(float)))".
APUS_API const char *apus_type_name(const apus_type *type);

// ---- Values ---------------------------------------------------------------------------------------------------------

typedef struct apus_value apus_value;

/// Bytes with their length. Where Apus gives them, `data[size]` is NUL.
typedef struct apus_string {
  const char *data;
  size_t size;
} apus_string;

/// Called once when Apus no longer uses memory that a caller lent; on any thread.
typedef void (*apus_release_function)(void *user_data);

/// A dense tensor in memory of its own, 64-byte aligned, whose elements are not initialised. Not for strings.
APUS_API APUS_MUST_USE apus_error *apus_value_create_tensor(apus_element_type type, const int64_t *dimensions, size_t rank,
                                                            apus_value **out);

/// A dense tensor over memory of the caller, without copying. Not for strings.
///
/// `data` (at least as aligned as one element) must hold `size` bytes, which must be exactly what the elements take, and must
/// stay valid until the value is destroyed and no run uses it. Then `release`, if not NULL, is called with `user_data`.
/// Apus writes to it only where the value is given as an output.
APUS_API APUS_MUST_USE apus_error *apus_value_create_tensor_over(apus_element_type type, const int64_t *dimensions, size_t rank,
                                                                 void *data, size_t size, apus_release_function release,
                                                                 void *user_data, apus_value **out);

/// A tensor of strings, copied from `strings`, of which there must be as many as the dimensions say.
APUS_API APUS_MUST_USE apus_error *apus_value_create_strings(const int64_t *dimensions, size_t rank, const apus_string *strings,
                                                             size_t count, apus_value **out);

/// A sequence. `element` is the type of its elements; they are shared with the given values, not copied.
APUS_API APUS_MUST_USE apus_error *apus_value_create_sequence(const apus_type *element, const apus_value *const *elements,
                                                              size_t count, apus_value **out);

/// A map from the elements of `keys` (a vector of integers or strings) to those of `values`: a tensor with as many elements.
APUS_API APUS_MUST_USE apus_error *apus_value_create_map(const apus_value *keys, const apus_value *values, apus_value **out);

/// An optional; `element` may be NULL: absent.
APUS_API APUS_MUST_USE apus_error *apus_value_create_optional(const apus_type *element_type, const apus_value *element,
                                                              apus_value **out);

/// A sparse tensor: `values` is a vector of the stored elements, `indices` an int64 tensor of their positions: [count] of linear
/// positions, or [count, rank] of coordinates, ascending and in range.
APUS_API APUS_MUST_USE apus_error *apus_value_create_sparse(const int64_t *dimensions, size_t rank, const apus_value *values,
                                                            const apus_value *indices, apus_value **out);

APUS_API void apus_value_destroy(apus_value *value);

APUS_API apus_value_kind apus_value_get_kind(const apus_value *value);

/// The type of this very value, with its dimensions where it is a tensor.
APUS_API const apus_type *apus_value_get_type(const apus_value *value);

/// Dense and sparse tensors: the element type; maps: the type of the keys; APUS_UNDEFINED for other kinds.
APUS_API apus_element_type apus_value_element_type(const apus_value *value);

/// Dense and sparse tensors: the number of dimensions; 0 for other kinds.
APUS_API size_t apus_value_rank(const apus_value *value);

/// Dense and sparse tensors: the dimensions, as many as the rank; NULL for other kinds and for scalars.
APUS_API const int64_t *apus_value_dimensions(const apus_value *value);

/// Dense tensors: the number of elements; sequences: of elements; maps: of pairs; optionals: 1 or 0; sparse tensors: of stored
/// elements.
APUS_API size_t apus_value_count(const apus_value *value);

/// Dense tensors except of strings: the elements; NULL for other kinds. What a caller may do with them: write to a value it
/// created or got from a run, while no run uses the value.
APUS_API void *apus_value_data(apus_value *value);
APUS_API const void *apus_value_const_data(const apus_value *value);

/// Dense tensors except of strings: the size of the elements in bytes; 0 for other kinds.
APUS_API size_t apus_value_size(const apus_value *value);

/// Tensors of strings: element `index` in row-major order; {NULL, 0} for other kinds and an index out of range.
APUS_API apus_string apus_value_string(const apus_value *value, size_t index);

/// Sequences: element `index`; optionals: what they hold (index 0). The result is a value of its own, which shares memory.
APUS_API APUS_MUST_USE apus_error *apus_value_element(const apus_value *value, size_t index, apus_value **out);

/// Maps: the keys as a vector; sparse tensors: the indices. A value of its own, which shares memory.
APUS_API APUS_MUST_USE apus_error *apus_value_keys(const apus_value *value, apus_value **out);

/// Maps: the values; sparse tensors: the stored elements. A value of its own, which shares memory.
APUS_API APUS_MUST_USE apus_error *apus_value_values(const apus_value *value, apus_value **out);

// ---- Models ---------------------------------------------------------------------------------------------------------

typedef struct apus_model apus_model;

/// Gives the contents of external data by the location that the model names. Returns true and sets `*data` and `*size` where it
/// has them; they must stay valid as long as the model and its sessions live. It may be called on any thread.
typedef bool (*apus_external_data_function)(void *user_data, const char *location, const void **data, size_t *size);

/// Reads an ONNX file. The file is mapped, not read: it must not be changed while the model or a session of it lives.
///
/// Data in other files are looked for in the model's directory and nowhere outside of it: not through `..`, absolute paths,
/// symbolic or hard links.
APUS_API APUS_MUST_USE apus_error *apus_model_create_from_path(const char *path, apus_model **out);

/// Reads a model from `size` bytes at `data`, which must stay valid and unchanged until `release`, if not NULL, is called with
/// `user_data`: when the model and its sessions have been destroyed, or before the call returns an error. No file is
/// opened: data outside of the model must come from `external`.
APUS_API APUS_MUST_USE apus_error *apus_model_create_from_bytes(const void *data, size_t size, apus_release_function release,
                                                                void *user_data, apus_external_data_function external,
                                                                void *external_user_data, apus_model **out);

/// Reads a model from a file, with external data taken from `external` first and from the model's directory where that has none.
APUS_API APUS_MUST_USE apus_error *apus_model_create_from_path_with_data(const char *path, apus_external_data_function external,
                                                                         void *external_user_data, apus_model **out);

APUS_API void apus_model_destroy(apus_model *model);

/// Writes the model, as it was read, to a new ONNX file: names, metadata and functions are kept, external data become part of
/// the file. Fails where the result would pass protobuf's limit of 2 GiB.
APUS_API APUS_MUST_USE apus_error *apus_model_save(const apus_model *model, const char *path);

APUS_API int64_t apus_model_ir_version(const apus_model *model);
APUS_API apus_string apus_model_producer_name(const apus_model *model);
APUS_API apus_string apus_model_producer_version(const apus_model *model);
APUS_API apus_string apus_model_domain(const apus_model *model);
APUS_API int64_t apus_model_version(const apus_model *model);
APUS_API apus_string apus_model_description(const apus_model *model);
APUS_API apus_string apus_model_graph_name(const apus_model *model);

/// The operator sets that the model imports: count, and domain ("" is ai.onnx) and version of each.
APUS_API size_t apus_model_opset_count(const apus_model *model);
APUS_API apus_string apus_model_opset_domain(const apus_model *model, size_t index);
APUS_API int64_t apus_model_opset_version(const apus_model *model, size_t index);

/// The model's own metadata: pairs of key and value.
APUS_API size_t apus_model_metadata_count(const apus_model *model);
APUS_API apus_string apus_model_metadata_key(const apus_model *model, size_t index);
APUS_API apus_string apus_model_metadata_value(const apus_model *model, size_t index);

// ---- Thread pools ---------------------------------------------------------------------------------------------------

/// Threads that sessions run on. Idle threads sleep; they are not bound to processors.
typedef struct apus_pool apus_pool;

/// `threads` counts the thread that runs a session, so a pool of 1 creates none. 0: as many as this process may use, the
/// lesser of its CPU affinity and its cgroup's quota.
APUS_API APUS_MUST_USE apus_error *apus_pool_create(size_t threads, apus_pool **out);
APUS_API size_t apus_pool_size(const apus_pool *pool);
APUS_API void apus_pool_destroy(apus_pool *pool);

// ---- Options --------------------------------------------------------------------------------------------------------

/// How far a session rewrites the graph. Results agree at every level, up to rounding.
typedef enum apus_optimization_level {
  /// As it is in the file.
  APUS_OPTIMIZE_NONE = 0,
  /// Constants folded; no-ops, dead code and repeated work removed.
  APUS_OPTIMIZE_BASIC = 1,
  /// Operators fused as well.
  APUS_OPTIMIZE_EXTENDED = 2,
  /// Everything, the choice of memory layouts included. The default.
  APUS_OPTIMIZE_ALL = 99
} apus_optimization_level;

typedef enum apus_log_level {
  APUS_LOG_VERBOSE = 0,
  APUS_LOG_INFO = 1,
  APUS_LOG_WARNING = 2,
  APUS_LOG_ERROR = 3
} apus_log_level;

/// Receives messages for people; on any thread, possibly several at once.
typedef void (*apus_log_function)(void *user_data, apus_log_level level, const char *message);

typedef struct apus_options apus_options;

APUS_API APUS_MUST_USE apus_error *apus_options_create(apus_options **out);
APUS_API void apus_options_destroy(apus_options *options);

/// Threads that one run uses, the calling one included; 0 (the default): as many as this process may use.
APUS_API APUS_MUST_USE apus_error *apus_options_set_threads(apus_options *options, size_t threads);

/// Runs on `pool`, which other sessions may use, too; sessions keep it alive. Takes precedence over the number of threads.
APUS_API APUS_MUST_USE apus_error *apus_options_set_pool(apus_options *options, const apus_pool *pool);

APUS_API APUS_MUST_USE apus_error *apus_options_set_optimization_level(apus_options *options, apus_optimization_level level);

/// Leaves out the optimiser's pass of that name (as the log and `apus inspect` write it).
APUS_API APUS_MUST_USE apus_error *apus_options_disable_pass(apus_options *options, const char *name);

/// The highest instruction set to use: "generic" < "avx2" < "avxvnni" < "avx512" < "avx512vnni", on Arm "neon" < "neondot" <
/// "neoni8mm". It is a maximum: above this CPU's ability the best below it is used. NULL (the default): what the environment
/// variable APUS_CPU says, or no maximum. An unknown name is an error.
APUS_API APUS_MUST_USE apus_error *apus_options_set_cpu(apus_options *options, const char *name);

/// Bytes that the session and its runs may hold beside the model's own; 0 (the default): what physical memory, the cgroup and
/// RLIMIT_AS allow. What would pass it fails with APUS_ERROR_MEMORY_LIMIT before memory is asked for.
APUS_API APUS_MUST_USE apus_error *apus_options_set_memory_limit(apus_options *options, size_t bytes);

/// Sends messages to `function`; NULL (the default): nowhere. `user_data` must stay valid as long as sessions made with the
/// options live.
APUS_API APUS_MUST_USE apus_error *apus_options_set_log(apus_options *options, apus_log_function function, void *user_data);

// ---- Operators of the caller ----------------------------------------------------------------------------------------

/// A node of the graph as the functions of its operator see it. It and what its getters give are valid while the function runs.
typedef struct apus_node apus_node;

APUS_API apus_string apus_node_domain(const apus_node *node);
APUS_API apus_string apus_node_op_type(const apus_node *node);
/// The name, which may be empty and need not differ from those of other nodes.
APUS_API apus_string apus_node_name(const apus_node *node);
/// The version of its domain's operator set that the model imports.
APUS_API int64_t apus_node_opset(const apus_node *node);

/// What an attribute holds.
typedef enum apus_attribute_kind {
  /// There is no attribute of that name.
  APUS_ATTRIBUTE_NONE = 0,
  APUS_ATTRIBUTE_FLOAT = 1,
  APUS_ATTRIBUTE_INT = 2,
  APUS_ATTRIBUTE_STRING = 3,
  APUS_ATTRIBUTE_TENSOR = 4,
  APUS_ATTRIBUTE_FLOATS = 6,
  APUS_ATTRIBUTE_INTS = 7,
  APUS_ATTRIBUTE_STRINGS = 8,
  /// Something that has no getter: a graph, a type, a sparse tensor, a list of these.
  APUS_ATTRIBUTE_OTHER = 100
} apus_attribute_kind;

APUS_API size_t apus_node_attribute_count(const apus_node *node);
/// The name of an attribute; {NULL, 0} for an index out of range.
APUS_API apus_string apus_node_attribute_name(const apus_node *node, size_t index);
APUS_API apus_attribute_kind apus_node_attribute_kind(const apus_node *node, const char *name);

/// The contents of an attribute. APUS_ERROR_NOT_FOUND where there is none of that name, APUS_ERROR_TYPE_MISMATCH where it is of
/// another kind. Strings and lists belong to the node; the tensor is a value of its own, which shares memory.
APUS_API APUS_MUST_USE apus_error *apus_node_attribute_int(const apus_node *node, const char *name, int64_t *out);
APUS_API APUS_MUST_USE apus_error *apus_node_attribute_float(const apus_node *node, const char *name, float *out);
APUS_API APUS_MUST_USE apus_error *apus_node_attribute_string(const apus_node *node, const char *name, apus_string *out);
APUS_API APUS_MUST_USE apus_error *apus_node_attribute_tensor(const apus_node *node, const char *name, apus_value **out);
APUS_API APUS_MUST_USE apus_error *apus_node_attribute_ints(const apus_node *node, const char *name, const int64_t **out,
                                                            size_t *count);
APUS_API APUS_MUST_USE apus_error *apus_node_attribute_floats(const apus_node *node, const char *name, const float **out,
                                                              size_t *count);
APUS_API APUS_MUST_USE apus_error *apus_node_attribute_strings(const apus_node *node, const char *name, const apus_string **out,
                                                               size_t *count);

/// Infers the types of a node's outputs from those of its inputs (NULL: left out).
///
/// Puts a new type, which Apus takes over, into each entry of `outputs`; all are NULL on entry. Returns NULL, or an error (made
/// with apus_error_create(), or received from another function), which Apus takes over, too. It is called when a session is
/// made, when dimensions may not be fixed, and again for each combination of input shapes that the session meets. A
/// dimension of an output that depends on more than shapes is left open.
typedef apus_error *(*apus_infer_function)(void *user_data, const apus_node *node, const apus_type *const *inputs, size_t input_count,
                                           apus_type **outputs, size_t output_count);

/// Computes a node's outputs from its inputs (NULL: left out), which are valid while the function runs.
///
/// An entry of `outputs` is, on entry, a tensor of the inferred type and shape, where these are fixed: the function writes to it
/// and leaves the entry as it is. Otherwise it is NULL: the function puts a new value of the inferred type there, which Apus
/// takes over. Returns NULL, or an error as above; then Apus still takes over what was put into `outputs`.
typedef apus_error *(*apus_compute_function)(void *user_data, const apus_node *node, const apus_value *const *inputs,
                                             size_t input_count, apus_value **outputs, size_t output_count);

/// An operator that the caller brings along.
///
/// Its functions are called on threads that make or run sessions, several at the same time when several do. They must return:
/// neither exceptions nor longjmp may leave them. They may run other sessions.
typedef struct apus_operator {
  /// sizeof(apus_operator)
  size_t size;
  /// Not "" or "ai.onnx", and no operator of Apus.
  const char *domain;
  const char *op_type;
  /// The first version of the domain's operator set with this meaning, from 1 on. Of several operators of one name a node gets the
  /// newest that is not newer than what the model imports.
  int64_t since;
  /// NULL: all outputs have the type and shape of the first input.
  apus_infer_function infer;
  apus_compute_function compute;
  void *user_data;
  /// If not NULL, called once with `user_data`, on any thread: when the options and all sessions made with them have been
  /// destroyed, or before the call that adds the operator returns an error.
  apus_release_function release;
} apus_operator;

/// Adds an operator for sessions made with these options from now on. Strings are copied.
APUS_API APUS_MUST_USE apus_error *apus_options_add_operator(apus_options *options, const apus_operator *description);

// ---- Quantisation ---------------------------------------------------------------------------------------------------

/// What a model is quantised to.
typedef enum apus_quantize_method {
  /// Weights and activations in 8 bits; the ranges of activations are measured on data.
  APUS_QUANTIZE_STATIC = 0,
  /// Weights in 8 bits; activations are quantised as they come. Needs no data.
  APUS_QUANTIZE_DYNAMIC = 1,
  /// Weights alone, in 4 or 8 bits; activations stay float. Needs no data.
  APUS_QUANTIZE_WEIGHTS = 2
} apus_quantize_method;

/// How the range of an activation follows from what was seen of it.
typedef enum apus_calibration {
  /// From the least to the greatest element.
  APUS_CALIBRATE_MIN_MAX = 0,
  /// What holds `percentile` percent of the elements.
  APUS_CALIBRATE_PERCENTILE = 1,
  /// The range whose quantised distribution tells least apart from the real one.
  APUS_CALIBRATE_ENTROPY = 2
} apus_calibration;

/// Whether the channels of adjacent layers are brought to equal ranges before they are quantised.
typedef enum apus_equalization {
  /// Where the results come closer to those of the model.
  APUS_EQUALIZE_AUTOMATIC = 0,
  APUS_EQUALIZE_ALWAYS = 1,
  APUS_EQUALIZE_NEVER = 2
} apus_equalization;

/// One run's worth of data.
typedef struct apus_quantize_batch {
  /// sizeof(apus_quantize_batch)
  size_t struct_size;
  /// A value for each input of the model, in its order; NULL for one that has a default.
  const apus_value *const *inputs;
  size_t input_count;
  /// The right class of each row of the first output; NULL where they are not known. All batches have labels, or none.
  const int64_t *labels;
  size_t label_count;
} apus_quantize_batch;

/// Told what is being done and what share (0 to 1) of all is done; on the thread that calls apus_model_quantize().
typedef void (*apus_progress_function)(void *user_data, const char *stage, double share);

/// Receives the report, once: JSON text of `size` bytes, with a NUL behind it, that is valid during the call.
typedef void (*apus_report_function)(void *user_data, const char *json, size_t size);

/// How a model is quantised. A struct of zeros with `struct_size` set is statically quantised with all defaults.
typedef struct apus_quantize_options {
  /// sizeof(apus_quantize_options)
  size_t struct_size;
  apus_quantize_method method;
  /// Static: APUS_UINT8 (also for APUS_UNDEFINED) or APUS_INT8.
  apus_element_type activation_type;
  /// APUS_INT8 (also for APUS_UNDEFINED); APUS_INT4 for weights alone.
  apus_element_type weight_type;
  apus_calibration calibration;
  /// Above 50, at most 100; 0: 99.99.
  double percentile;
  /// Weights alone: elements along the summed axis that share a scale, 16 or more; 0: all of a column.
  size_t block_size;
  /// Weights alone: blocks have zero points rather than being symmetric.
  bool zero_points;
  /// Weights alone: scales follow from the largest element; otherwise they are searched for the least squared error.
  bool plain_scales;
  /// One scale for all of a layer's weights rather than one for each output channel.
  bool per_tensor;
  /// Biases are corrected by the mean error that rounded weights make on the data.
  bool correct_bias;
  apus_equalization equalization;
  /// Not 0: leaves in float what it takes to lose no more than this on the data, of the share of right answers where there are
  /// labels, else of relative error (root mean square of what the worst output is off by over that of the output).
  double max_drop;
  /// Operators ("Conv"), or names of nodes or of their first outputs, to leave in float; `*` stands for any characters.
  const char *const *exclude;
  size_t exclude_count;
  /// Where there are any: the only ones to quantise.
  const char *const *include;
  size_t include_count;
  /// Data to measure activations on and to judge the result by; static quantisation needs some.
  const apus_quantize_batch *batches;
  size_t batch_count;
  /// May be NULL, as may `report`.
  apus_progress_function progress;
  apus_report_function report;
  /// For both.
  void *user_data;
} apus_quantize_options;

/// Makes a quantised model, of standard ONNX operators, to be saved or made a session of. `session_options` (may be NULL) say what
/// the runs that it takes may use: threads, memory, instruction sets.
///
/// Names and metadata stay; functions are expanded, weights that are inputs with a default become constants, and operators are
/// brought to the version of the operator set that the result needs. APUS_ERROR_INVALID_ARGUMENT where there is nothing to
/// quantise, where the model is quantised already, and for options that contradict each other.
APUS_API APUS_MUST_USE apus_error *apus_model_quantize(const apus_model *model, const apus_quantize_options *options,
                                                       const apus_options *session_options, apus_model **out);

// ---- Sessions -------------------------------------------------------------------------------------------------------

typedef struct apus_session apus_session;

/// Makes a model ready to run. `options` may be NULL: the defaults. The model may be destroyed afterwards.
APUS_API APUS_MUST_USE apus_error *apus_session_create(const apus_model *model, const apus_options *options, apus_session **out);
APUS_API void apus_session_destroy(apus_session *session);

APUS_API size_t apus_session_input_count(const apus_session *session);
APUS_API size_t apus_session_output_count(const apus_session *session);

/// The name of an input or output; {NULL, 0} for an index out of range.
APUS_API apus_string apus_session_input_name(const apus_session *session, size_t index);
APUS_API apus_string apus_session_output_name(const apus_session *session, size_t index);

/// The type of an input or output; NULL for an index out of range.
APUS_API const apus_type *apus_session_input_type(const apus_session *session, size_t index);
APUS_API const apus_type *apus_session_output_type(const apus_session *session, size_t index);

/// Whether a run may leave the input out (NULL): the model has a default for it.
APUS_API bool apus_session_input_is_optional(const apus_session *session, size_t index);

/// The position of the input or output named by `size` bytes at `name`; APUS_ERROR_NOT_FOUND where there is none.
APUS_API APUS_MUST_USE apus_error *apus_session_find_input(const apus_session *session, const char *name, size_t size, size_t *index);
APUS_API APUS_MUST_USE apus_error *apus_session_find_output(const apus_session *session, const char *name, size_t size, size_t *index);

/// A handle to stop runs from another thread. It may be given to many runs.
typedef struct apus_run apus_run;

APUS_API APUS_MUST_USE apus_error *apus_run_create(apus_run **out);
APUS_API void apus_run_destroy(apus_run *run);

/// Ends the runs that use the handle, and those that will, soon, with APUS_ERROR_CANCELLED; until apus_run_reset(). May be called
/// from any thread at any time (so the handle is const).
APUS_API void apus_run_cancel(const apus_run *run);

/// Takes a cancel back.
APUS_API void apus_run_reset(const apus_run *run);

/// Lets runs that use the handle end with APUS_ERROR_DEADLINE_EXCEEDED when `nanoseconds` from now have passed; a negative number:
/// no deadline.
APUS_API void apus_run_set_time_limit(const apus_run *run, int64_t nanoseconds);

/// Runs the session once.
///
/// `inputs` has an entry for each input of the session, in its order; NULL for one that is left out. `outputs` has an entry
/// for each output. On entry it is NULL, or a dense tensor value of the output's type and shape that the result is to be
/// written to. On success an entry that was NULL is a new value, to be destroyed by the caller, that shares nothing with
/// inputs, session or model; one that was given is unchanged and holds the result. On failure the entries are as
/// they were. An output must not share memory with an input or with another output.
///
/// `run` may be NULL. With repeated shapes and all outputs given, the call allocates no memory.
APUS_API APUS_MUST_USE apus_error *apus_session_run(const apus_session *session, const apus_value *const *inputs, size_t input_count,
                                                    apus_value **outputs, size_t output_count, const apus_run *run);

/// A dense tensor in the caller's memory, described in place rather than by a handle.
typedef struct apus_array {
  /// sizeof(apus_array): later versions may know more fields.
  size_t struct_size;
  /// APUS_UNDEFINED: nothing here; the other fields are not read.
  apus_element_type element_type;
  size_t rank;
  const int64_t *dimensions;
  /// Aligned to the size of an element (at most 8 bytes).
  void *data;
  /// In bytes, exactly what the tensor takes.
  size_t size;
} apus_array;

/// The same as apus_session_run() for dense tensors in the caller's memory, which it borrows for the duration of the call: no
/// handle is made, which matters to networks that take a few microseconds. An input that is undefined is left out; the result
/// of an output that is undefined is dropped; all others are written to their memory, which must have the right shape.
APUS_API APUS_MUST_USE apus_error *apus_session_run_arrays(const apus_session *session, const apus_array *inputs,
                                                           size_t input_count, const apus_array *outputs, size_t output_count,
                                                           const apus_run *run);

#ifdef __cplusplus
}
#endif
#endif
