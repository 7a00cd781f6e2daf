/* What ends a run before its time, and that nothing else ends with it: the caller's memory cap, RLIMIT_AS, a deadline, a cancel
   from another thread. After each of them the session runs again. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "apus.h"
#include "expect.h"

enum { PIXELS = 64, CLASSES = 10, LARGE = 100000 };

static float *pixels;

static apus_session *session(size_t memory_limit) {
  apus_model *model = NULL;
  apus_options *options = NULL;
  apus_session *session = NULL;
  if (!succeeded(apus_model_create_from_path("Examples/models/digits_cnn.onnx", &model)) || !succeeded(apus_options_create(&options)) ||
      !succeeded(apus_options_set_threads(options, 1)) || !succeeded(apus_options_set_memory_limit(options, memory_limit)) ||
      !succeeded(apus_session_create(model, options, &session)))
    exit(1);
  apus_options_destroy(options);
  apus_model_destroy(model);
  return session;
}

/* Classifies `batch` pictures; gives the code of the error, APUS_OK where there was none. */
static apus_error_code classify(const apus_session *session, int batch, const apus_run *run) {
  const int64_t shape[4] = {batch, 1, 8, 8};
  apus_value *input = NULL, *output = NULL;
  if (!succeeded(apus_value_create_tensor_over(APUS_FLOAT32, shape, 4, pixels, (size_t)batch * PIXELS * 4, NULL, NULL, &input))) exit(1);
  const apus_value *inputs[1] = {input};
  apus_error *error = apus_session_run(session, inputs, 1, &output, 1, run);
  apus_error_code code = error ? apus_error_get_code(error) : APUS_OK;
  if (error) printf("  %s\n", apus_error_message(error));
  if (!error && apus_value_count(output) != (size_t)batch * CLASSES) code = APUS_ERROR_INTERNAL;
  apus_error_destroy(error);
  apus_value_destroy(output);
  apus_value_destroy(input);
  return code;
}

static void *cancel(void *run) {
  const struct timespec pause = {0, 5000000};
  nanosleep(&pause, NULL);
  apus_run_cancel(run);
  return NULL;
}

/* In a process of its own: the address space cannot be widened again. */
static int under_address_limit(void) {
  pid_t child = fork();
  if (child == 0) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld", &pages) != 1) _exit(2);
    fclose(file);
    rlim_t bytes = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (64u << 20);
    const struct rlimit limit = {bytes, bytes};
    if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(2);
    apus_session *limited = session(0);
    apus_error_code code = classify(limited, LARGE, NULL);
    if (code != APUS_ERROR_MEMORY_LIMIT && code != APUS_ERROR_OUT_OF_MEMORY) _exit(3);
    _exit(classify(limited, 2, NULL) == APUS_OK ? 0 : 4);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(void) {
  pixels = calloc((size_t)LARGE * PIXELS, sizeof *pixels);
  if (!pixels) return 1;

  apus_session *capped = session(8u << 20);
  expect(classify(capped, LARGE, NULL) == APUS_ERROR_MEMORY_LIMIT, "a plan beyond the caller's cap is an error of its own");
  expect(classify(capped, 2, NULL) == APUS_OK, "a smaller one runs in the same session");
  apus_session_destroy(capped);

  expect(under_address_limit(), "the same for RLIMIT_AS");

  apus_session *free_session = session(0);
  apus_run *run = NULL;
  if (!succeeded(apus_run_create(&run))) return 1;
  apus_run_set_time_limit(run, 1000000);
  expect(classify(free_session, LARGE, run) == APUS_ERROR_DEADLINE_EXCEEDED, "a run ends when its time is over");
  apus_run_set_time_limit(run, -1);
  expect(classify(free_session, 2, run) == APUS_OK, "without a limit it does not");

  pthread_t thread;
  if (pthread_create(&thread, NULL, cancel, run) != 0) return 1;
  apus_error_code code = APUS_OK;
  while (code == APUS_OK) code = classify(free_session, 2000, run);
  pthread_join(thread, NULL);
  expect(code == APUS_ERROR_CANCELLED, "a cancel from another thread ends the run that is in progress");
  apus_run_reset(run);
  expect(classify(free_session, 2, run) == APUS_OK, "and no later one");

  apus_run_destroy(run);
  apus_session_destroy(free_session);
  free(pixels);
  return failures != 0;
}
