/* Resident memory of loading a model and running it once, over what the process had before: its peak may pass the weights
   only by what packing one tensor at a time needs. Without arguments a model of 75 MB is generated and judged; models named
   on the command line are only measured. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apus.h"
#include "expect.h"

enum { MOST_VALUES = 64 };
static const double allowed = 1.3;

/* ---- A model, written as the wire format has it. */

typedef struct {
  uint8_t *data;
  size_t size, capacity;
} buffer;

static void append(buffer *to, const void *data, size_t size) {
  if (to->size + size > to->capacity) {
    to->capacity = (to->size + size) * 2;
    to->data = realloc(to->data, to->capacity);
    if (!to->data) abort();
  }
  memcpy(to->data + to->size, data, size);
  to->size += size;
}

static void varint(buffer *to, uint64_t number) {
  do {
    uint8_t byte = (uint8_t)((number & 127) | (number > 127 ? 128 : 0));
    append(to, &byte, 1);
    number >>= 7;
  } while (number);
}

static void number(buffer *to, int field, uint64_t value) {
  varint(to, (uint64_t)field << 3);
  varint(to, value);
}

static void bytes(buffer *to, int field, const void *data, size_t size) {
  varint(to, (uint64_t)field << 3 | 2);
  varint(to, size);
  append(to, data, size);
}

static void text(buffer *to, int field, const char *string) { bytes(to, field, string, strlen(string)); }

/* Appends `message` as a field and empties it. */
static void embed(buffer *to, int field, buffer *message) {
  bytes(to, field, message->data, message->size);
  free(message->data);
  *message = (buffer){0};
}

/* Appends a float initializer with small pseudo-random elements; gives its size. */
static size_t weights(buffer *graph, const char *name, const int64_t *dimensions, int rank) {
  buffer tensor = {0};
  size_t count = 1;
  for (int axis = 0; axis < rank; axis++) {
    number(&tensor, 1, (uint64_t)dimensions[axis]);
    count *= (size_t)dimensions[axis];
  }
  number(&tensor, 2, APUS_FLOAT32);
  text(&tensor, 8, name);
  float *elements = malloc(count * sizeof *elements);
  if (!elements) abort();
  uint32_t state = 12345;
  for (size_t i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;
    elements[i] = (float)(int32_t)state * 1e-11f;
  }
  bytes(&tensor, 9, elements, count * sizeof *elements);
  free(elements);
  embed(graph, 5, &tensor);
  return count * sizeof *elements;
}

static void node(buffer *graph, const char *type, const char *input, const char *weight, const char *output, const char *attribute,
                 const int64_t *integers, int count) {
  buffer message = {0};
  text(&message, 1, input);
  if (weight) text(&message, 1, weight);
  text(&message, 2, output);
  text(&message, 4, type);
  if (attribute) {
    buffer value = {0};
    text(&value, 1, attribute);
    if (count == 0) {
      number(&value, 3, 1);
      number(&value, 20, 2);
    }
    for (int i = 0; i < count; i++) number(&value, 8, (uint64_t)integers[i]);
    if (count) number(&value, 20, 7);
    embed(&message, 5, &value);
  }
  embed(graph, 1, &message);
}

static void interface(buffer *graph, int field, const char *name, const int64_t *dimensions, int rank) {
  buffer shape = {0}, tensor = {0}, type = {0}, info = {0};
  for (int axis = 0; axis < rank; axis++) {
    buffer dimension = {0};
    number(&dimension, 1, (uint64_t)dimensions[axis]);
    embed(&shape, 1, &dimension);
  }
  number(&tensor, 1, APUS_FLOAT32);
  embed(&tensor, 2, &shape);
  embed(&type, 1, &tensor);
  text(&info, 1, name);
  embed(&info, 2, &type);
  embed(graph, field, &info);
}

/* Convolutions, products with both orders of the weights, one of them half of all. `total`: bytes of the weights. */
static buffer generate(size_t *total) {
  static const int64_t image[] = {1, 512, 4, 4}, result[] = {1, 2048}, pads[] = {1, 1, 1, 1};
  static const int64_t filter[] = {512, 512, 3, 3}, wide[] = {512, 8192}, tall[] = {8192, 1024}, turned[] = {2048, 1024};
  buffer graph = {0}, opset = {0}, model = {0};
  node(&graph, "Conv", "x", "w1", "a", "pads", pads, 4);
  node(&graph, "Relu", "a", NULL, "b", NULL, NULL, 0);
  node(&graph, "Conv", "b", "w2", "c", "pads", pads, 4);
  node(&graph, "GlobalAveragePool", "c", NULL, "d", NULL, NULL, 0);
  node(&graph, "Flatten", "d", NULL, "e", NULL, NULL, 0);
  node(&graph, "MatMul", "e", "w3", "f", NULL, NULL, 0);
  node(&graph, "MatMul", "f", "w4", "g", NULL, NULL, 0);
  node(&graph, "Gemm", "g", "w5", "y", "transB", NULL, 0);
  text(&graph, 2, "generated");
  *total = weights(&graph, "w1", filter, 4) + weights(&graph, "w2", filter, 4) + weights(&graph, "w3", wide, 2) +
           weights(&graph, "w4", tall, 2) + weights(&graph, "w5", turned, 2);
  interface(&graph, 11, "x", image, 4);
  interface(&graph, 12, "y", result, 2);
  number(&model, 1, 8);
  number(&opset, 2, 13);
  embed(&model, 8, &opset);
  embed(&model, 7, &graph);
  return model;
}

/* ---- Measuring. */

/* A line of /proc/self/status, in bytes. */
static size_t status(const char *name) {
  char line[256];
  unsigned long kilobytes = 0;
  FILE *file = fopen("/proc/self/status", "r");
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, name, strlen(name)) == 0) sscanf(line + strlen(name), ": %lu", &kilobytes);
  if (file) fclose(file);
  return (size_t)kilobytes * 1024;
}

/* Makes the peak of resident memory what is resident now; gives that. */
static size_t reset_peak(void) {
  malloc_trim(0);
  FILE *file = fopen("/proc/self/clear_refs", "w");
  if (!file) return 0;
  bool written = fputs("5", file) >= 0;
  written = fclose(file) == 0 && written;
  return written ? status("VmRSS") : 0;
}

/* Loads from `path` or from `model`, runs once; gives the peak of memory over what there was before, 0 on failure. */
static size_t peak(const char *path, const buffer *contents, apus_optimization_level level) {
  apus_model *model = NULL;
  apus_options *options = NULL;
  apus_session *session = NULL;
  apus_value *inputs[MOST_VALUES] = {NULL}, *outputs[MOST_VALUES] = {NULL};
  size_t before = reset_peak(), result = 0, arena = 0;
  bool ready = before > 0 &&
               succeeded(contents ? apus_model_create_from_bytes(contents->data, contents->size, NULL, NULL, NULL, NULL, &model)
                                  : apus_model_create_from_path(path, &model)) &&
               succeeded(apus_options_create(&options)) && succeeded(apus_options_set_threads(options, 1)) &&
               succeeded(apus_options_set_optimization_level(options, level));
  size_t loaded = status("VmHWM");
  ready = ready && succeeded(apus_session_create(model, options, &session));
  size_t made = status("VmHWM");
  size_t input_count = apus_session_input_count(session), output_count = apus_session_output_count(session);
  ready = ready && input_count <= MOST_VALUES && output_count <= MOST_VALUES;
  for (size_t i = 0; ready && i < input_count; i++) ready = (inputs[i] = zeros(apus_session_input_type(session, i))) != NULL;
  ready = ready && succeeded(apus_session_run(session, (const apus_value *const *)inputs, input_count, outputs, output_count, NULL));
  if (ready) {
    result = status("VmHWM") - before;
    arena = status("VmRSS") - before;
    printf("  peak over the baseline after load, session, run: %.1f, %.1f, %.1f MB; stays: %.1f MB\n",
           (double)(loaded - before) / 1e6, (double)(made - before) / 1e6, (double)result / 1e6, (double)arena / 1e6);
  }
  for (int i = 0; i < MOST_VALUES; i++) {
    apus_value_destroy(inputs[i]);
    apus_value_destroy(outputs[i]);
  }
  apus_session_destroy(session);
  apus_options_destroy(options);
  apus_model_destroy(model);
  return result;
}

/* Measures one way of loading in a process of its own state; gives whether the ratio is allowed. */
static bool judge(const char *what, size_t used, size_t total) {
  double ratio = (double)used / (double)total;
  bool good = used > 0 && ratio <= allowed;
  printf("%s: %s: %.1f MB for %.1f MB of weights: %.3f, allowed %.2f\n", good ? "ok" : "FAILED", what, (double)used / 1e6,
         (double)total / 1e6, ratio, allowed);
  fflush(stdout);
  return good;
}

int main(int argc, char **argv) {
  static const apus_optimization_level levels[] = {APUS_OPTIMIZE_ALL, APUS_OPTIMIZE_NONE};
  /* The library's own pages are there from here on. */
  peak("Examples/models/digits_cnn.onnx", NULL, APUS_OPTIMIZE_ALL);
  int failures = 0;
  if (argc > 1) {
    for (int m = 1; m < argc; m++) {
      FILE *file = fopen(argv[m], "rb");
      if (!file || fseek(file, 0, SEEK_END) != 0) return 1;
      size_t total = (size_t)ftell(file);
      fclose(file);
      for (int l = 0; l < 2; l++) judge(levels[l] ? "optimised" : "unoptimised", peak(argv[m], NULL, levels[l]), total);
    }
    return 0;
  }
  size_t total = 0;
  buffer model = generate(&total);
  char path[] = "/tmp/apus-memory-XXXXXX";
  int descriptor = mkstemp(path);
  FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "wb");
  bool written = file && fwrite(model.data, 1, model.size, file) == model.size;
  if (!file || fclose(file) != 0 || !written) {
    printf("FAILED: no temporary file can be written\n");
    return 1;
  }
  for (int l = 0; l < 2; l++) {
    failures += !judge(levels[l] ? "bytes, optimised" : "bytes, unoptimised", peak(NULL, &model, levels[l]), total);
  }
  free(model.data);
  for (int l = 0; l < 2; l++) {
    failures += !judge(levels[l] ? "path, optimised" : "path, unoptimised", peak(path, NULL, levels[l]), total);
  }
  unlink(path);
  return failures != 0;
}
