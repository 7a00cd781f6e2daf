// Fuzzes the importer's C++ border: parses bytes as a model and reads everything of it through the C view.
//
// With libFuzzer:
//   clang++ -std=c++17 -g -O1 -fsanitize=fuzzer,address,undefined -DONNX_ML=1 -DONNX_NAMESPACE=onnx
//     -ISources/CApusONNX/include Tests/Fuzz/importer_fuzz.cpp Sources/CApusONNX/*.cpp -lonnx_proto -lprotobuf -o fuzz
//   ./fuzz CORPUS
// With -DAPUS_REPLAY and without `fuzzer` it replays files instead; for each file it then also parses copies with bytes
// changed, and with the n-th allocation failing for rising n:
//   ./replay MUTATIONS FAILING_ALLOCATIONS FILE...
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <new>
#include <random>
#include <vector>

#include "capus_onnx.h"

namespace {

uint64_t seen = 0;  // depends on every byte read, so that nothing is optimised away

void touch(capus_bytes bytes) {
  for (size_t i = 0; i < bytes.size; i += 61) seen += bytes.data[i];
  if (bytes.size) seen += bytes.data[bytes.size - 1];
}

void touchMetadata(capus_kind kind, const void *handle) {
  capus_entry entries[4];
  const size_t count = capus_metadata(kind, handle, entries, 4);
  for (size_t i = 0; i < count && i < 4; ++i) touch(entries[i].key), touch(entries[i].value);
}

void touchType(const capus_type *type) {
  if (!type) return;
  capus_type_info info;
  capus_type_read(type, &info);
  touch(info.denotation), touch(info.opaque_domain), touch(info.opaque_name);
  for (size_t i = 0; i <= info.rank; ++i) touch(capus_type_dim(type, i).param);
  touchType(info.element);
}

void touchValue(const capus_value_info *value) {
  capus_value_info_info info;
  capus_value_info_read(value, &info);
  touch(info.name), touch(info.doc_string);
  touchType(info.type);
  touchMetadata(CAPUS_VALUE_INFO, value);
}

void touchTensor(const capus_model *model, const capus_tensor *tensor) {
  if (!tensor) return;
  capus_tensor_info info;
  capus_tensor_read(model, tensor, &info);
  touch(info.name), touch(info.doc_string), touch(info.raw_data);
  for (size_t i = 0; i < info.rank; ++i) seen += static_cast<uint64_t>(info.dims[i]);
  for (size_t i = 0; i <= info.external_count; ++i) touch(capus_tensor_external(tensor, i).value);
  touchMetadata(CAPUS_TENSOR, tensor);
  const struct { capus_data_field field; uint64_t count; size_t size; } fields[] = {
      {CAPUS_FLOAT_DATA, info.float_count, 4},   {CAPUS_INT32_DATA, info.int32_count, 4},
      {CAPUS_INT32_DATA, info.int32_count, 2},   {CAPUS_INT32_DATA, info.int32_count, 1},
      {CAPUS_INT64_DATA, info.int64_count, 8},   {CAPUS_DOUBLE_DATA, info.double_count, 8},
      {CAPUS_UINT64_DATA, info.uint64_count, 8}, {CAPUS_UINT64_DATA, info.uint64_count, 4}};
  for (const auto &field : fields) {
    auto *out = static_cast<uint8_t *>(std::malloc(field.count * field.size));
    capus_error error;
    if (out && capus_tensor_decode(model, tensor, field.field, field.size, out, field.count, &error) == CAPUS_OK && field.count)
      seen += out[field.count * field.size - 1];
    std::free(out);
    touch(capus_tensor_in_place(model, tensor, field.field));
  }
  auto *strings = static_cast<capus_bytes *>(std::malloc(info.string_count * sizeof(capus_bytes)));
  if (strings && capus_tensor_strings(model, tensor, strings, info.string_count, nullptr) == CAPUS_OK)
    for (uint64_t i = 0; i < info.string_count; ++i) touch(strings[i]);
  std::free(strings);
}

void touchSparse(const capus_model *model, const capus_sparse_tensor *sparse) {
  if (!sparse) return;
  capus_sparse_tensor_info info;
  capus_sparse_tensor_read(sparse, &info);
  for (size_t i = 0; i < info.rank; ++i) seen += static_cast<uint64_t>(info.dims[i]);
  touchTensor(model, info.values), touchTensor(model, info.indices);
}

void touchGraph(const capus_model *model, const capus_graph *graph);

void touchAttribute(const capus_model *model, const capus_attribute *attribute) {
  capus_attribute_info info;
  capus_attribute_read(attribute, &info);
  touch(info.name), touch(info.ref_attr_name), touch(info.doc_string), touch(info.s);
  touchTensor(model, info.tensor), touchGraph(model, info.graph), touchSparse(model, info.sparse_tensor);
  touchType(info.type_proto);
  for (size_t i = 0; i < info.int_count; ++i) seen += static_cast<uint64_t>(info.ints[i]);
  for (size_t i = 0; i < info.float_count; ++i) seen += info.floats[i] != 0;
  for (size_t i = 0; i <= info.string_count; ++i) touch(capus_attribute_string(attribute, i));
  for (size_t i = 0; i <= info.tensor_count; ++i) touchTensor(model, capus_attribute_tensor(attribute, i));
  for (size_t i = 0; i <= info.graph_count; ++i) touchGraph(model, capus_attribute_graph(attribute, i));
  for (size_t i = 0; i <= info.sparse_tensor_count; ++i) touchSparse(model, capus_attribute_sparse_tensor(attribute, i));
  for (size_t i = 0; i <= info.type_proto_count; ++i) touchType(capus_attribute_type_proto(attribute, i));
}

void touchNode(const capus_model *model, const capus_node *node) {
  capus_node_info info;
  capus_node_read(node, &info);
  touch(info.name), touch(info.op_type), touch(info.domain), touch(info.overload), touch(info.doc_string);
  for (size_t i = 0; i <= info.input_count; ++i) touch(capus_node_input(node, i));
  for (size_t i = 0; i <= info.output_count; ++i) touch(capus_node_output(node, i));
  for (size_t i = 0; i < info.attribute_count; ++i) touchAttribute(model, capus_node_attribute(node, i));
  touchMetadata(CAPUS_NODE, node);
}

void touchGraph(const capus_model *model, const capus_graph *graph) {
  if (!graph) return;
  capus_graph_info info;
  capus_graph_read(graph, &info);
  touch(info.name), touch(info.doc_string);
  for (size_t i = 0; i < info.node_count; ++i) touchNode(model, capus_graph_node(graph, i));
  for (size_t i = 0; i < info.input_count; ++i) touchValue(capus_graph_input(graph, i));
  for (size_t i = 0; i < info.output_count; ++i) touchValue(capus_graph_output(graph, i));
  for (size_t i = 0; i < info.value_info_count; ++i) touchValue(capus_graph_value_info(graph, i));
  for (size_t i = 0; i <= info.initializer_count; ++i) touchTensor(model, capus_graph_initializer(graph, i));
  for (size_t i = 0; i <= info.sparse_initializer_count; ++i) touchSparse(model, capus_graph_sparse_initializer(graph, i));
  for (size_t i = 0; i < info.quantization_annotation_count; ++i) {
    capus_bytes name;
    capus_entry entries[4];
    capus_graph_quantization_annotation(graph, i, &name, entries, 4);
    touch(name);
  }
  touchMetadata(CAPUS_GRAPH, graph);
}

bool readAll(const uint8_t *data, size_t size) {
  capus_model *model = nullptr;
  capus_error error = {};
  if (capus_model_parse(data, size, nullptr, &model, &error) != CAPUS_OK) {
    if (error.code == CAPUS_OK || error.message[0] == 0) std::abort();
    return false;
  }
  capus_model_info info;
  capus_model_read(model, &info);
  touch(info.producer_name), touch(info.producer_version), touch(info.domain), touch(info.doc_string);
  touchMetadata(CAPUS_MODEL, model);
  for (size_t i = 0; i <= info.opset_import_count; ++i) touch(capus_model_opset_import(model, i).domain);
  touchGraph(model, info.graph);
  for (size_t i = 0; i < info.function_count; ++i) {
    const capus_function *function = capus_model_function(model, i);
    capus_function_info f;
    capus_function_read(function, &f);
    touch(f.name), touch(f.domain), touch(f.overload), touch(f.doc_string);
    for (size_t k = 0; k <= f.input_count; ++k) touch(capus_function_input(function, k));
    for (size_t k = 0; k <= f.output_count; ++k) touch(capus_function_output(function, k));
    for (size_t k = 0; k <= f.attribute_name_count; ++k) touch(capus_function_attribute_name(function, k));
    for (size_t k = 0; k < f.attribute_default_count; ++k) touchAttribute(model, capus_function_attribute_default(function, k));
    for (size_t k = 0; k < f.node_count; ++k) touchNode(model, capus_function_node(function, k));
    for (size_t k = 0; k < f.value_info_count; ++k) touchValue(capus_function_value_info(function, k));
    for (size_t k = 0; k <= f.opset_import_count; ++k) touch(capus_function_opset_import(function, k).domain);
    touchMetadata(CAPUS_FUNCTION, function);
  }
  capus_model_destroy(model);
  return true;
}

}  // namespace

#ifndef APUS_REPLAY

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  readAll(data, size);
  return 0;
}

#else

namespace {
long allocationsLeft = -1;  // negative: never fail
bool failed = false;
}  // namespace

// Every allocation of libonnx and libprotobuf passes here.
void *operator new(size_t size) {
  if (allocationsLeft == 0) {
    failed = true;
    throw std::bad_alloc();
  }
  if (allocationsLeft > 0) --allocationsLeft;
  void *memory = std::malloc(size ? size : 1);
  if (!memory) throw std::bad_alloc();
  return memory;
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, size_t) noexcept { std::free(memory); }

int main(int argc, char **argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: replay MUTATIONS FAILING_ALLOCATIONS FILE...\n");
    return 2;
  }
  const long mutations = std::atol(argv[1]), failures = std::atol(argv[2]);
  size_t accepted = 0, refused = 0, mutated = 0, starved = 0;
  std::mt19937_64 random(20261123);
  for (int i = 3; i < argc; ++i) {
    std::ifstream stream(argv[i], std::ios::binary);
    std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
    // An exact allocation, so that the address sanitizer sees the first byte beyond the end.
    bytes.shrink_to_fit();
    ++(readAll(bytes.data(), bytes.size()) ? accepted : refused);
    for (long n = 0; n < failures; ++n) {
      failed = false;
      allocationsLeft = n;
      readAll(bytes.data(), bytes.size());
      allocationsLeft = -1;
      if (!failed) break;
      ++starved;
    }
    for (long n = 0; n < mutations && !bytes.empty() && bytes.size() < 300000; ++n) {
      std::vector<uint8_t> copy = bytes;
      for (unsigned flips = 1 + random() % 4; flips; --flips) copy[random() % copy.size()] = static_cast<uint8_t>(random());
      if (random() % 8 == 0) copy.resize(random() % copy.size());
      copy.shrink_to_fit();
      mutated += readAll(copy.data(), copy.size());
    }
  }
  std::printf("%zu files accepted, %zu refused, %zu mutants accepted, %zu failed allocations survived (%llu)\n", accepted, refused,
              mutated, starved, static_cast<unsigned long long>(seen));
  return 0;
}

#endif
