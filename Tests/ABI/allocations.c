/* Counts heap allocations of steady-state runs: with repeating shapes and results in the caller's memory there are none,
   those of the Swift run time included. Models may be named on the command line; else the examples are taken. */
#include <execinfo.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apus.h"
#include "expect.h"

/* glibc's own allocator, under the names by which a program's replacements reach it. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *pointer, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

enum { WARM_UP = 4, COUNTED = 16, MOST_VALUES = 64, DEPTH = 14, SHOWN = 8 };

static bool counting;
static int allocations;
static void *traces[SHOWN][DEPTH];
static int depths[SHOWN], trace_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void count(void) {
  if (!__atomic_load_n(&counting, __ATOMIC_RELAXED)) return;
  if (__atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED) >= COUNTED * SHOWN) return;
  void *trace[DEPTH];
  int depth = backtrace(trace, DEPTH);
  pthread_mutex_lock(&lock);
  int same = 0;
  while (same < trace_count && (depths[same] != depth || memcmp(traces[same], trace, sizeof(void *) * (size_t)depth) != 0)) same++;
  if (same == trace_count && trace_count < SHOWN) {
    memcpy(traces[trace_count], trace, sizeof trace);
    depths[trace_count++] = depth;
  }
  pthread_mutex_unlock(&lock);
}

void *malloc(size_t size) {
  count();
  return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
  count();
  return __libc_calloc(number, size);
}

void *realloc(void *pointer, size_t size) {
  count();
  return __libc_realloc(pointer, size);
}

void *memalign(size_t alignment, size_t size) {
  count();
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count();
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **pointer, size_t alignment, size_t size) {
  count();
  *pointer = __libc_memalign(alignment, size);
  return *pointer ? 0 : 12;
}

/* Runs the model in one configuration; gives the allocations of COUNTED runs, -1 where a run failed. */
static int measure(const char *path, size_t threads, apus_optimization_level level) {
  apus_model *model = NULL;
  apus_options *options = NULL;
  apus_session *session = NULL;
  apus_value *inputs[MOST_VALUES] = {NULL}, *outputs[MOST_VALUES] = {NULL};
  int result = -1;
  bool ready = succeeded(apus_model_create_from_path(path, &model)) &&
               succeeded(apus_options_create(&options)) &&
               succeeded(apus_options_set_threads(options, threads)) &&
               succeeded(apus_options_set_optimization_level(options, level)) &&
               succeeded(apus_session_create(model, options, &session));
  size_t input_count = apus_session_input_count(session), output_count = apus_session_output_count(session);
  ready = ready && input_count <= MOST_VALUES && output_count <= MOST_VALUES;
  for (size_t i = 0; ready && i < input_count; i++) ready = (inputs[i] = zeros(apus_session_input_type(session, i))) != NULL;
  /* The first run makes the results, which the others write into. */
  for (int i = 0; ready && i < WARM_UP; i++) {
    ready = succeeded(
        apus_session_run(session, (const apus_value *const *)inputs, input_count, outputs, output_count, NULL));
  }
  if (ready) {
    allocations = trace_count = 0;
    __atomic_store_n(&counting, true, __ATOMIC_SEQ_CST);
    for (int i = 0; ready && i < COUNTED; i++) {
      apus_error *error =
          apus_session_run(session, (const apus_value *const *)inputs, input_count, outputs, output_count, NULL);
      if (error) ready = false;
      apus_error_destroy(error);
    }
    __atomic_store_n(&counting, false, __ATOMIC_SEQ_CST);
    if (ready) result = allocations;
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

int main(int argc, char **argv) {
  static const char *examples[] = {
      "Examples/models/digits_cnn.onnx", "Examples/models/digits_cnn_int8.onnx", "Examples/models/digits_lstm.onnx",
      "Examples/models/digits_transformer.onnx"};
  static const apus_optimization_level levels[] = {APUS_OPTIMIZE_ALL, APUS_OPTIMIZE_NONE};
  const char **models = argc > 1 ? (const char **)argv + 1 : examples;
  int model_count = argc > 1 ? argc - 1 : (int)(sizeof examples / sizeof *examples);
  int failures = 0;
  void *first[1];
  backtrace(first, 1); /* loads the unwinder, which allocates */

  /* Whether the counter counts at all: an allocation inside of the library. */
  apus_options *options = NULL;
  counting = true;
  apus_error_destroy(apus_options_create(&options));
  counting = false;
  apus_options_destroy(options);
  if (allocations == 0) {
    printf("FAILED: allocations of the library are not seen\n");
    return 1;
  }

  for (int m = 0; m < model_count; m++) {
    for (size_t threads = 1; threads <= 2; threads++) {
      for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        int count = measure(models[m], threads, levels[l]);
        printf("%s: %s, %zu threads, level %d: %d allocations in %d runs\n", count == 0 ? "ok" : "FAILED", models[m], threads,
               (int)levels[l], count, COUNTED);
        fflush(stdout);
        failures += count != 0;
        for (int i = 0; count > 0 && i < trace_count; i++) {
          backtrace_symbols_fd(traces[i], depths[i], STDOUT_FILENO);
          printf("\n");
          fflush(stdout);
        }
      }
    }
  }
  return failures != 0;
}
