/* Operators of the caller's own: attributes, shapes, results, errors, threads and release. Each check prints its line. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "apus.h"
#include "expect.h"

/* x -> Relu -> my.domain.Scaled(factor = 2.5, axes = [1, 2]) -> Neg -> y, with version 2 of my.domain. */
static const unsigned char model_bytes[] = {
    8, 8, 58, 119, 10, 12, 10, 1, 120, 18, 1, 114, 34, 4, 82, 101, 108, 117, 10, 58, 10, 1, 114, 18, 1, 115, 34, 6,
    83, 99, 97, 108, 101, 100, 42, 13, 10, 4, 97, 120, 101, 115, 64, 1, 64, 2, 160, 1, 7, 42, 16, 10, 6, 102, 97,
    99, 116, 111, 114, 21, 0, 0, 32, 64, 160, 1, 1, 58, 9, 109, 121, 46, 100, 111, 109, 97, 105, 110, 10, 11, 10, 1,
    115, 18, 1, 121, 34, 3, 78, 101, 103, 18, 1, 103, 90, 16, 10, 1, 120, 18, 11, 10, 9, 8, 1, 18, 5, 10, 3, 18, 1,
    110, 98, 9, 10, 1, 121, 18, 4, 10, 2, 8, 1, 66, 4, 10, 0, 16, 17, 66, 13, 10, 9, 109, 121, 46, 100, 111, 109,
    97, 105, 110, 16, 2};

static void expect_error(apus_error *error, apus_error_code code, const char *part, const char *what) {
  expect(error != NULL && apus_error_get_code(error) == code && strstr(apus_error_message(error), part) != NULL, what);
  if (error) printf("  %s\n", apus_error_message(error));
  apus_error_destroy(error);
}

/* What a test wants of the functions, and what they saw. */
typedef struct behaviour {
  enum { FINE, OWN_ERROR, UNKNOWN_CODE, WRONG_TYPE, WRONG_SHAPE, NOTHING, OPEN_SHAPE } how;
  int infers, computes, releases;
} behaviour;

static apus_error *infer(void *user_data, const apus_node *node, const apus_type *const *inputs, size_t input_count, apus_type **outputs,
                         size_t output_count) {
  behaviour *b = user_data;
  __atomic_add_fetch(&b->infers, 1, __ATOMIC_SEQ_CST);
  (void)node;
  if (input_count != 1 || output_count != 1) return apus_error_create(APUS_ERROR_INVALID_MODEL, "one input, one output");
  const char *symbol = NULL;
  const int64_t size = apus_type_dimension(inputs[0], 0, &symbol);
  if (b->how == NOTHING) return NULL;
  if (b->how == OPEN_SHAPE) {
    const int64_t open = -1;
    const char *name = "result";
    return apus_type_create_tensor_of_shape(APUS_FLOAT32, &open, &name, 1, &outputs[0]);
  }
  return apus_type_create_tensor_of_shape(APUS_FLOAT32, &size, &symbol, 1, &outputs[0]);
}

static apus_error *compute(void *user_data, const apus_node *node, const apus_value *const *inputs, size_t input_count,
                           apus_value **outputs, size_t output_count) {
  behaviour *b = user_data;
  __atomic_add_fetch(&b->computes, 1, __ATOMIC_SEQ_CST);
  if (input_count != 1 || output_count != 1) return apus_error_create(APUS_ERROR_INVALID_MODEL, "one input, one output");
  if (b->how == OWN_ERROR) return apus_error_create(APUS_ERROR_INVALID_VALUE, "no such luck");
  if (b->how == UNKNOWN_CODE) return apus_error_create((apus_error_code)77, NULL);
  float factor = 0;
  apus_error *error = apus_node_attribute_float(node, "factor", &factor);
  if (error) return error;
  const size_t count = apus_value_count(inputs[0]);
  if (b->how != FINE) {
    /* The shape was left open, so the output is for this function to make. */
    if (outputs[0] != NULL) return apus_error_create(APUS_ERROR_INTERNAL, "an output that nobody asked for");
    const int64_t size = (int64_t)count, square[2] = {size, 1};
    error = apus_value_create_tensor(b->how == WRONG_TYPE ? APUS_INT32 : APUS_FLOAT32, b->how == WRONG_SHAPE ? square : &size,
                                     b->how == WRONG_SHAPE ? 2 : 1, &outputs[0]);
    if (error) return error;
  }
  const float *x = apus_value_const_data(inputs[0]);
  float *y = apus_value_data(outputs[0]);
  for (size_t i = 0; i < count; i++) y[i] = factor * x[i];
  return NULL;
}

static apus_error *look(void *user_data, const apus_node *node, const apus_value *const *inputs, size_t input_count,
                        apus_value **outputs, size_t output_count) {
  (void)user_data, (void)input_count, (void)output_count;
  const int64_t *axes = NULL;
  size_t count = 0;
  int64_t number = 0;
  expect(strcmp(apus_node_domain(node).data, "my.domain") == 0 && strcmp(apus_node_op_type(node).data, "Scaled") == 0 &&
             apus_node_name(node).size == 0 && apus_node_opset(node) == 2,
         "a node tells its domain, operator, name and version");
  expect(apus_node_attribute_count(node) == 2 && apus_node_attribute_name(node, 2).data == NULL, "and its attributes");
  expect(apus_node_attribute_kind(node, "factor") == APUS_ATTRIBUTE_FLOAT &&
             apus_node_attribute_kind(node, "axes") == APUS_ATTRIBUTE_INTS &&
             apus_node_attribute_kind(node, "other") == APUS_ATTRIBUTE_NONE,
         "and their kinds");
  expect_success(apus_node_attribute_ints(node, "axes", &axes, &count), "a list is read");
  expect(count == 2 && axes[0] == 1 && axes[1] == 2, "as it was written");
  expect_error(apus_node_attribute_int(node, "axes", &number), APUS_ERROR_TYPE_MISMATCH, "ints", "a list is no number");
  expect_error(apus_node_attribute_int(node, "other", &number), APUS_ERROR_NOT_FOUND, "other", "what is not there is not found");
  expect_error(apus_node_attribute_int(node, NULL, &number), APUS_ERROR_INVALID_ARGUMENT, "NULL", "no name is an error");
  memcpy(apus_value_data(outputs[0]), apus_value_const_data(inputs[0]), apus_value_size(outputs[0]));
  return NULL;
}

static void release(void *user_data) { __atomic_add_fetch(&((behaviour *)user_data)->releases, 1, __ATOMIC_SEQ_CST); }

static apus_model *model;

/* A session whose operator is `description`; NULL and an error where there is none. */
static apus_error *make_session(const apus_operator *description, apus_session **session) {
  apus_options *options = NULL;
  apus_error *error = apus_options_create(&options);
  if (!error) error = apus_options_add_operator(options, description);
  if (!error) error = apus_session_create(model, options, session);
  apus_options_destroy(options);
  return error;
}

/* Runs x = [-1, 2, 3, ...] of `count` elements; 1 where the result is as it should be. */
static apus_error *run(const apus_session *session, size_t count, int *is_right) {
  float x[16], want[16];
  for (size_t i = 0; i < count; i++) {
    x[i] = i == 0 ? -1 : (float)i + 1;
    want[i] = i == 0 ? -0.0f : -2.5f * x[i];
  }
  const int64_t dimension = (int64_t)count;
  apus_value *input = NULL, *output = NULL;
  apus_error *error = apus_value_create_tensor_over(APUS_FLOAT32, &dimension, 1, x, count * sizeof(float), NULL, NULL, &input);
  if (error) return error;
  const apus_value *inputs[1] = {input};
  error = apus_session_run(session, inputs, 1, &output, 1, NULL);
  apus_value_destroy(input);
  if (error) return error;
  *is_right = apus_value_count(output) == count && memcmp(apus_value_const_data(output), want, count * sizeof(float)) == 0;
  apus_value_destroy(output);
  return NULL;
}

static const apus_session *shared_session;

static void *run_often(void *argument) {
  (void)argument;
  for (int i = 0; i < 200; i++) {
    int is_right = 0;
    apus_error *error = run(shared_session, 1 + (size_t)(i % 16), &is_right);
    if (error || !is_right) return (void *)1;
  }
  return NULL;
}

int main(void) {
  expect_success(apus_model_create_from_bytes(model_bytes, sizeof model_bytes, NULL, NULL, NULL, NULL, &model), "a model loads");
  apus_session *session = NULL;
  expect_error(apus_session_create(model, NULL, &session), APUS_ERROR_UNSUPPORTED, "my.domain.Scaled", "without its operator it cannot run");

  behaviour fine = {.how = FINE};
  apus_operator description = {sizeof description, "my.domain", "Scaled", 1, infer, compute, &fine, release};
  expect_success(make_session(&description, &session), "with it, a session is made");
  if (!session) return 1;
  int is_right = 0;
  expect_success(run(session, 4, &is_right), "a run");
  expect(is_right && fine.computes == 1 && fine.infers >= 1, "gives what the function computes");
  expect_success(run(session, 7, &is_right), "a run of another size");
  expect(is_right && fine.computes == 2, "does, too");

  shared_session = session;
  pthread_t threads[4];
  int wrong = 0;
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, run_often, NULL);
  for (int i = 0; i < 4; i++) {
    void *result = NULL;
    pthread_join(threads[i], &result);
    wrong += result != NULL;
  }
  expect(wrong == 0 && fine.computes == 802, "four threads share the session");
  expect(fine.releases == 0, "the data are in use");
  apus_session_destroy(session);
  expect(fine.releases == 1, "and given back once, with the session");

  struct {
    int how;
    apus_error_code code;
    const char *part, *what;
  } cases[] = {
      {OWN_ERROR, APUS_ERROR_INVALID_VALUE, "no such luck", "the function's own error ends the run"},
      {UNKNOWN_CODE, APUS_ERROR_HOST_OPERATOR, "", "a number that is no code becomes one"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    behaviour b = {.how = cases[i].how};
    apus_operator bad = {sizeof bad, "my.domain", "Scaled", 2, NULL, compute, &b, release};
    session = NULL;
    expect_success(make_session(&bad, &session), "a session whose operator will fail");
    expect_error(run(session, 3, &is_right), cases[i].code, cases[i].part, cases[i].what);
    expect_error(run(session, 3, &is_right), cases[i].code, cases[i].part, "every time");
    apus_session_destroy(session);
    expect(b.releases == 1, "its data are given back");
  }

  behaviour open = {.how = OPEN_SHAPE};
  apus_operator opened = {sizeof opened, "my.domain", "Scaled", 2, infer, compute, &open, release};
  session = NULL;
  expect_success(make_session(&opened, &session), "an operator that cannot tell its shape");
  expect_success(run(session, 5, &is_right), "makes its output");
  expect(is_right, "which is right");
  /* The plan for this size is kept, and with it the open shape. */
  open.how = WRONG_TYPE;
  expect_error(run(session, 5, &is_right), APUS_ERROR_HOST_OPERATOR, "", "another type than inferred is an error");
  open.how = WRONG_SHAPE;
  expect_error(run(session, 5, &is_right), APUS_ERROR_HOST_OPERATOR, "", "another shape than inferred is an error");
  apus_session_destroy(session);

  behaviour mute = {.how = NOTHING};
  apus_operator silent = {sizeof silent, "my.domain", "Scaled", 2, infer, compute, &mute, release};
  expect_error(make_session(&silent, &session), APUS_ERROR_HOST_OPERATOR, "type of output 0", "a type left out is an error");
  expect(mute.releases == 1, "and gives the data back");

  behaviour other = {.how = FINE};
  apus_operator wrong_ones[] = {
      {0, "my.domain", "Scaled", 1, infer, compute, NULL, NULL},
      {sizeof(apus_operator), "my.domain", "Scaled", 1, infer, NULL, &other, release},
      {sizeof(apus_operator), NULL, "Scaled", 1, infer, compute, &other, release},
      {sizeof(apus_operator), "my.domain", NULL, 1, infer, compute, &other, release},
      {sizeof(apus_operator), "my.domain", "", 1, infer, compute, &other, release},
      {sizeof(apus_operator), "my.domain", "Scaled", 0, infer, compute, &other, release},
      {sizeof(apus_operator), "", "Relu", 1, infer, compute, &other, release},
      {sizeof(apus_operator), "com.microsoft", "Gelu", 1, infer, compute, &other, release},
  };
  for (size_t i = 0; i < sizeof wrong_ones / sizeof *wrong_ones; i++)
    expect_error(make_session(&wrong_ones[i], &session), APUS_ERROR_INVALID_ARGUMENT, "", "a description that is wrong");
  expect(other.releases == 7, "gives the data back");

  apus_operator curious = {sizeof curious, "my.domain", "Scaled", 2, NULL, look, NULL, NULL};
  session = NULL;
  expect_success(make_session(&curious, &session), "a session for looking at the node");
  expect_success(run(session, 2, &is_right), "a run that looks");
  apus_session_destroy(session);

  apus_model_destroy(model);
  printf("%d failed\n", failures);
  return failures != 0;
}
