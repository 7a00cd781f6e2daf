/* Lifetimes, ownership and misuse at the C border: each check prints its line and counts. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apus.h"
#include "expect.h"

static void expect_error(apus_error *error, apus_error_code code, const char *what) {
  expect(error != NULL && apus_error_get_code(error) == code && apus_error_message(error)[0] != 0, what);
  apus_error_destroy(error);
}

static int releases;
static void count_release(void *user_data) {
  (void)user_data;
  __atomic_add_fetch(&releases, 1, __ATOMIC_SEQ_CST);
}

static const apus_session *shared_session;

static void *run_often(void *argument) {
  float *pixels = argument;
  const int64_t dimensions[4] = {1, 1, 8, 8};
  apus_value *input = NULL;
  apus_error_destroy(apus_value_create_tensor_over(APUS_FLOAT32, dimensions, 4, pixels, 64 * sizeof(float), NULL, NULL, &input));
  const apus_value *inputs[1] = {input};
  float first[10];
  for (int i = 0; i < 200; i++) {
    apus_value *output = NULL;
    apus_error *error = apus_session_run(shared_session, inputs, 1, &output, 1, NULL);
    if (error || apus_value_count(output) != 10) return (void *)1;
    const float *scores = apus_value_const_data(output);
    if (i == 0) memcpy(first, scores, sizeof first);
    if (memcmp(first, scores, sizeof first) != 0) return (void *)1;
    apus_value_destroy(output);
  }
  apus_value_destroy(input);
  return NULL;
}

int main(void) {
  apus_model *model = NULL;
  expect_error(apus_model_create_from_path("no/such/file.onnx", &model), APUS_ERROR_IO, "a missing file is an error");
  expect_error(apus_model_create_from_path(NULL, &model), APUS_ERROR_INVALID_ARGUMENT, "a NULL path is an error");
  expect_error(apus_model_create_from_bytes("garbage", 7, count_release, NULL, NULL, NULL, &model), APUS_ERROR_INVALID_MODEL,
               "bytes that are no model are an error");
  expect(releases == 1, "bytes of a failed load are given back");
  expect(model == NULL, "a failed create leaves its output alone");
  expect_success(apus_model_create_from_path("Examples/models/digits_cnn.onnx", &model), "a model loads");
  if (!model) return 1;

  apus_options *options = NULL;
  expect_success(apus_options_create(&options), "options are made");
  expect_error(apus_options_set_cpu(options, "z80"), APUS_ERROR_INVALID_ARGUMENT, "an unknown CPU level is an error");
  expect_success(apus_options_set_cpu(options, "generic"), "a known CPU level is taken");
  expect_error(apus_options_disable_pass(options, "NoSuchPass"), APUS_ERROR_NOT_FOUND, "an unknown pass is an error");
  apus_session *session = NULL;
  expect_success(apus_session_create(model, options, &session), "a session is made");
  apus_options_destroy(options);
  apus_model_destroy(model);
  if (!session) return 1;
  shared_session = session;

  expect(apus_session_input_count(session) == 1 && apus_session_output_count(session) == 1, "one input, one output");
  size_t rank = 0;
  const char *symbol = NULL;
  const apus_type *type = apus_session_input_type(session, 0);
  expect(apus_type_rank(type, &rank) && rank == 4 && apus_type_element_type(type) == APUS_FLOAT32, "the input is a float tensor of rank 4");
  expect(apus_type_dimension(type, 0, &symbol) == -1 && symbol != NULL, "its first dimension is a symbol");
  expect(apus_session_input_type(session, 7) == NULL, "an input beyond the last has no type");

  float pixels[64] = {0};
  const int64_t dimensions[4] = {1, 1, 8, 8}, wrong[4] = {1, 1, 8, 7};
  apus_value *input = NULL, *output = NULL;
  expect_error(apus_value_create_tensor_over(APUS_FLOAT32, wrong, 4, pixels, sizeof pixels, NULL, NULL, &input),
               APUS_ERROR_INVALID_ARGUMENT, "a size that does not fit the shape is an error");
  releases = 0;
  expect_success(apus_value_create_tensor_over(APUS_FLOAT32, dimensions, 4, pixels, sizeof pixels, count_release, NULL, &input),
                 "a tensor over the caller's memory");
  const apus_value *inputs[1] = {input};
  expect_success(apus_session_run(session, inputs, 1, &output, 1, NULL), "a run");
  const float *first = apus_value_const_data(output);

  const int64_t result_dimensions[2] = {1, 10};
  float result[10] = {0};
  apus_value *given = NULL;
  expect_success(apus_value_create_tensor_over(APUS_FLOAT32, result_dimensions, 2, result, sizeof result, NULL, NULL, &given),
                 "a tensor for the result");
  apus_value *outputs[1] = {given};
  expect_success(apus_session_run(session, inputs, 1, outputs, 1, NULL), "a run into the caller's memory");
  expect(outputs[0] == given && memcmp(first, result, sizeof result) == 0, "gives the same bits there");

  const apus_value *nothing[1] = {NULL};
  apus_value *untouched = NULL;
  expect_error(apus_session_run(session, nothing, 1, &untouched, 1, NULL), APUS_ERROR_INVALID_ARGUMENT, "a missing input is an error");
  expect(untouched == NULL, "and leaves the output alone");

  apus_run *run = NULL;
  expect_success(apus_run_create(&run), "a run handle");
  apus_run_cancel(run);
  expect_error(apus_session_run(session, inputs, 1, &untouched, 1, run), APUS_ERROR_CANCELLED, "a cancelled run ends");
  apus_run_reset(run);
  expect_success(apus_session_run(session, inputs, 1, outputs, 1, run), "and runs again after a reset");
  apus_run_set_time_limit(run, 0);
  expect_error(apus_session_run(session, inputs, 1, &untouched, 1, run), APUS_ERROR_DEADLINE_EXCEEDED, "a passed deadline ends it");
  apus_run_destroy(run);

  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, run_often, pixels);
  for (int i = 0; i < 4; i++) {
    void *status = NULL;
    pthread_join(threads[i], &status);
    expect(status == NULL, "a thread that shares the session gets the same results each time");
  }

  apus_session_destroy(session);
  expect(first[0] == result[0], "an output outlives its session");
  apus_value_destroy(given);
  apus_value_destroy(output);
  apus_value_destroy(input);
  expect(releases == 1, "the caller's memory is given back once");
  apus_value_destroy(NULL);
  apus_session_destroy(NULL);
  apus_error_destroy(NULL);
  return failures != 0;
}
