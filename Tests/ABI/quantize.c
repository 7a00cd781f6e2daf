/* Quantises a network through the C interface, runs the result, and asks for what must be refused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apus.h"
#include "expect.h"

enum { PICTURES = 16, PIXELS = 64, CLASSES = 10 };

/* Whether the call failed with `code` and a message that holds `text`. */
static int refused(apus_error *error, apus_error_code code, const char *text) {
  int result = error && apus_error_get_code(error) == code && strstr(apus_error_message(error), text);
  printf("  %s\n", apus_error_message(error));
  apus_error_destroy(error);
  return result;
}

typedef struct {
  char *report;
  double last;
  int stages;
} heard;

static void on_progress(void *user_data, const char *stage, double share) {
  heard *all = user_data;
  if (*stage) all->stages++;
  all->last = share;
}

static void on_report(void *user_data, const char *json, size_t size) {
  heard *all = user_data;
  all->report = malloc(size + 1);
  if (all->report) memcpy(all->report, json, size + 1);
}

static int run(const apus_model *model, const apus_value *input, float *out) {
  apus_session *session = NULL;
  apus_value *output = NULL;
  int good = succeeded(apus_session_create(model, NULL, &session)) && succeeded(apus_session_run(session, &input, 1, &output, 1, NULL)) &&
             apus_value_size(output) == PICTURES * CLASSES * sizeof(float);
  if (good) memcpy(out, apus_value_const_data(output), PICTURES * CLASSES * sizeof(float));
  apus_value_destroy(output);
  apus_session_destroy(session);
  return good;
}

int main(void) {
  static float pixels[PICTURES * PIXELS], before[PICTURES * CLASSES], after[PICTURES * CLASSES];
  const int64_t shape[4] = {PICTURES, 1, 8, 8};
  for (int i = 0; i < PICTURES * PIXELS; i++) pixels[i] = (float)(i * 7919 % 101) / 100.0f;
  apus_model *model = NULL, *quantized = NULL;
  apus_value *input = NULL;
  if (!succeeded(apus_model_create_from_path("Examples/models/digits_cnn.onnx", &model)) ||
      !succeeded(apus_value_create_tensor_over(APUS_FLOAT32, shape, 4, pixels, sizeof pixels, NULL, NULL, &input)))
    return 1;
  const apus_value *inputs[1] = {input};
  int64_t labels[PICTURES];
  expect(run(model, input, before), "the model runs");
  for (int i = 0; i < PICTURES; i++) {
    labels[i] = 0;
    for (int c = 1; c < CLASSES; c++)
      if (before[i * CLASSES + c] > before[i * CLASSES + labels[i]]) labels[i] = c;
  }
  apus_quantize_batch batch = {.struct_size = sizeof batch, .inputs = inputs, .input_count = 1, .labels = labels, .label_count = PICTURES};
  heard all = {0};
  apus_quantize_options options = {.struct_size = sizeof options, .batches = &batch, .batch_count = 1, .progress = on_progress,
                                   .report = on_report, .user_data = &all};

  expect(succeeded(apus_model_quantize(model, &options, NULL, &quantized)), "static quantisation");
  expect(all.stages > 3 && all.last == 1.0, "progress is told to the end");
  expect(all.report && strstr(all.report, "\"accuracy\": 1.0") && strstr(all.report, "node_Conv_25"), "the report is JSON");
  free(all.report);
  all.report = NULL;
  apus_model_destroy(model);
  float worst = 0;
  expect(run(quantized, input, after), "the quantised model runs, the model being gone");
  for (int i = 0; i < PICTURES * CLASSES; i++) worst = fmaxf(worst, fabsf(after[i] - before[i]));
  printf("  worst difference %g\n", (double)worst);
  expect(worst > 0 && worst < 0.1f, "its results are close");

  apus_model *again = NULL;
  expect(refused(apus_model_quantize(quantized, &options, NULL, &again), APUS_ERROR_INVALID_ARGUMENT, "quantised already") && !again,
         "a quantised model is not quantised again");
  apus_model_destroy(quantized);
  if (!succeeded(apus_model_create_from_path("Examples/models/digits_cnn.onnx", &model))) return 1;

  options.report = NULL;
  options.progress = NULL;
  options.batch_count = 0;
  expect(refused(apus_model_quantize(model, &options, NULL, &again), APUS_ERROR_INVALID_ARGUMENT, "needs calibration data"), "no data");
  options.method = APUS_QUANTIZE_WEIGHTS;
  options.weight_type = APUS_INT4;
  options.block_size = 16;
  expect(succeeded(apus_model_quantize(model, &options, NULL, &quantized)) && run(quantized, input, after), "4-bit weights without data");
  apus_model_destroy(quantized);
  options.block_size = 3;
  expect(refused(apus_model_quantize(model, &options, NULL, &again), APUS_ERROR_INVALID_ARGUMENT, "at least 16"), "a block too small");
  options.block_size = 0;
  options.weight_type = APUS_STRING;
  expect(refused(apus_model_quantize(model, &options, NULL, &again), APUS_ERROR_INVALID_ARGUMENT, "int8 or int4"), "a type that is none");
  options.weight_type = APUS_UNDEFINED;
  options.method = (apus_quantize_method)77;
  expect(refused(apus_model_quantize(model, &options, NULL, &again), APUS_ERROR_INVALID_ARGUMENT, "method"), "a method that is none");
  options.method = APUS_QUANTIZE_STATIC;
  options.batch_count = 1;
  options.batches = NULL;
  expect(refused(apus_model_quantize(model, &options, NULL, &again), APUS_ERROR_INVALID_ARGUMENT, "batches is NULL"), "batches that are NULL");
  options.batches = &batch;
  batch.label_count = 3;
  expect(refused(apus_model_quantize(model, &options, NULL, &again), APUS_ERROR_SHAPE_MISMATCH, "3 labels"), "too few labels");
  batch.label_count = PICTURES;
  batch.input_count = 0;
  expect(refused(apus_model_quantize(model, &options, NULL, &again), APUS_ERROR_INVALID_ARGUMENT, "1 inputs expected"), "no inputs");
  batch.struct_size = 1;
  expect(refused(apus_model_quantize(model, &options, NULL, &again), APUS_ERROR_INVALID_ARGUMENT, "struct_size"), "a batch of no size");
  options.struct_size = 8;
  expect(refused(apus_model_quantize(model, &options, NULL, &again), APUS_ERROR_INVALID_ARGUMENT, "struct_size"), "options of no size");
  expect(refused(apus_model_quantize(model, NULL, NULL, &again), APUS_ERROR_INVALID_ARGUMENT, "options is NULL"), "no options");
  options.struct_size = sizeof options;
  expect(refused(apus_model_quantize(NULL, &options, NULL, &again), APUS_ERROR_INVALID_ARGUMENT, "model is NULL"), "no model");
  expect(refused(apus_model_quantize(model, &options, NULL, NULL), APUS_ERROR_INVALID_ARGUMENT, "out is NULL") && !again, "no out");
  apus_value_destroy(input);
  apus_model_destroy(model);
  return failures != 0;
}
