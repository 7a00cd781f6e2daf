/* Threads as the C border promises them: how many there are, that idle ones cost nothing, that sessions share a pool, and that
   many threads may run one session at once, each with shapes of its own. */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "apus.h"
#include "expect.h"

static int thread_count(void) {
  int count = 0;
  DIR *folder = opendir("/proc/self/task");
  if (!folder) return -1;
  for (struct dirent *entry; (entry = readdir(folder));) count += entry->d_name[0] != '.';
  closedir(folder);
  return count;
}

/* A thread that has been joined may stay in the list for a moment. */
static int settles_at(int count) {
  const struct timespec pause = {0, 1000000};
  for (int i = 0; i < 1000 && thread_count() != count; i++) nanosleep(&pause, NULL);
  return thread_count() == count;
}

static double cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + 1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static apus_session *session(const apus_model *model, size_t threads, apus_pool *pool) {
  apus_options *options = NULL;
  apus_session *session = NULL;
  if (!succeeded(apus_options_create(&options)) || !succeeded(apus_options_set_threads(options, threads)) ||
      (pool && !succeeded(apus_options_set_pool(options, pool))) || !succeeded(apus_session_create(model, options, &session)))
    exit(1);
  apus_options_destroy(options);
  return session;
}

enum { PIXELS = 64, CLASSES = 10, MOST_BATCH = 24, RUNS = 60, THREADS = 6 };

/* Classifies `batch` pictures made of `seed` into `scores`. */
static int classify(const apus_session *session, int batch, int seed, float *scores) {
  float pixels[MOST_BATCH * PIXELS];
  for (int i = 0; i < batch * PIXELS; i++) pixels[i] = (float)((i * 7 + seed * 13) % 17) / 16;
  const int64_t shape[4] = {batch, 1, 8, 8};
  apus_value *input = NULL, *output = NULL;
  if (!succeeded(apus_value_create_tensor_over(APUS_FLOAT32, shape, 4, pixels, (size_t)batch * PIXELS * 4, NULL, NULL, &input))) return 0;
  const apus_value *inputs[1] = {input};
  int good = succeeded(apus_session_run(session, inputs, 1, &output, 1, NULL)) && apus_value_count(output) == (size_t)batch * CLASSES;
  if (good) memcpy(scores, apus_value_const_data(output), apus_value_size(output));
  apus_value_destroy(input);
  apus_value_destroy(output);
  return good;
}

static float expected[MOST_BATCH + 1][MOST_BATCH * CLASSES];

typedef struct {
  const apus_session *session;
  int number, wrong;
} worker;

static void *work(void *argument) {
  worker *self = argument;
  float scores[MOST_BATCH * CLASSES];
  for (int i = 0; i < RUNS; i++) {
    /* Every thread meets every shape, in an order of its own. */
    int batch = 1 + (i * (2 * self->number + 1) + self->number) % MOST_BATCH;
    if (!classify(self->session, batch, batch, scores) ||
        memcmp(scores, expected[batch], (size_t)batch * CLASSES * sizeof *scores) != 0)
      self->wrong++;
  }
  return NULL;
}

/* Runs all the threads, on `sessions` in turn; gives the number of wrong results. */
static int together(apus_session *const *sessions, int session_count) {
  pthread_t threads[THREADS];
  worker workers[THREADS];
  int wrong = 0;
  for (int i = 0; i < THREADS; i++) {
    workers[i] = (worker){sessions[i % session_count], i, 0};
    if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) exit(1);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    wrong += workers[i].wrong;
  }
  return wrong;
}

int main(void) {
  apus_model *model = NULL;
  float scores[MOST_BATCH * CLASSES];
  if (!succeeded(apus_model_create_from_path("Examples/models/digits_cnn.onnx", &model))) return 1;
  const int base = thread_count();

  apus_session *single = session(model, 1, NULL);
  expect(classify(single, 3, 1, scores) && thread_count() == base, "a session of one thread creates no thread");
  for (int batch = 1; batch <= MOST_BATCH; batch++) expect(classify(single, batch, batch, expected[batch]), "a run alone");

  apus_session *several = session(model, 3, NULL);
  expect(thread_count() == base + 2, "a session of three threads creates two");
  expect(classify(several, MOST_BATCH, MOST_BATCH, scores) && memcmp(scores, expected[MOST_BATCH], sizeof scores) == 0,
         "the number of threads does not change a bit of the result");
  apus_session_destroy(several);
  expect(settles_at(base), "its threads end with it");

  apus_pool *pool = NULL, *fitting = NULL;
  if (!succeeded(apus_pool_create(3, &pool)) || !succeeded(apus_pool_create(0, &fitting))) return 1;
  cpu_set_t allowed;
  sched_getaffinity(0, sizeof allowed, &allowed);
  expect(apus_pool_size(fitting) >= 1 && apus_pool_size(fitting) <= (size_t)CPU_COUNT(&allowed), "the default size is within the CPUs allowed");
  apus_pool_destroy(fitting);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = 0; CPU_COUNT(&one) == 0; cpu++)
    if (CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &one);
  sched_setaffinity(0, sizeof one, &one);
  apus_pool *narrow = NULL;
  expect(succeeded(apus_pool_create(0, &narrow)) && apus_pool_size(narrow) == 1, "one thread where one CPU is allowed");
  apus_pool_destroy(narrow);
  sched_setaffinity(0, sizeof allowed, &allowed);
  apus_session *sharing[3];
  for (int i = 0; i < 3; i++) sharing[i] = session(model, 1, pool);
  apus_pool_destroy(pool);
  expect(settles_at(base + 2), "three sessions share the threads of one pool");
  expect(together(sharing, 3) == 0, "and give the right results at the same time");
  expect(together(&single, 1) == 0, "one session run by many threads with many shapes gives the right results");
  expect(together(sharing, 1) == 0, "the same with a pool");

  const struct timespec rest = {0, 300000000};
  double before = cpu_seconds();
  nanosleep(&rest, NULL);
  double used = cpu_seconds() - before;
  printf("  0.3 s of rest cost %.3f ms\n", used * 1e3);
  expect(used < 0.01, "threads without work cost nothing");
  for (int i = 0; i < 3; i++) apus_session_destroy(sharing[i]);
  expect(settles_at(base), "the last session takes the pool's threads with it");

  apus_session_destroy(single);
  apus_model_destroy(model);
  return failures != 0;
}
