// Reads a hand-written digit with a network from Examples/models, through the C interface.
//
//   cc classify.c -lapus -o classify && ./classify [model.onnx]
#include <apus.h>

#include <stdio.h>
#include <stdlib.h>

// 8x8 grey, 0 (paper) to 16 (ink): a three that the networks were not trained on.
static const unsigned char picture[64] = {
    0, 0, 6, 15, 14, 2,  0, 0, 0, 5, 16, 11, 14, 12, 0, 0, 0, 5, 11, 3, 16, 5,  0, 0, 0, 0, 0, 14, 16, 7,  0, 0,
    0, 0, 0, 8,  10, 16, 3, 0, 0, 1, 4,  0,  0,  12, 7, 0, 0, 7, 16, 5, 6,  16, 5, 0, 0, 1, 8, 15, 16, 12, 1, 0,
};

/// Ends the program with a message when there is an error.
static void check(apus_error *error) {
  if (!error) return;
  const char *node = apus_error_node(error);
  fprintf(stderr, "apus: %s%s%s\n", node ? node : "", node ? ": " : "", apus_error_message(error));
  apus_error_destroy(error);
  exit(EXIT_FAILURE);
}

int main(int argc, char **argv) {
  apus_model *model = NULL;
  check(apus_model_create_from_path(argc > 1 ? argv[1] : "Examples/models/digits_cnn.onnx", &model));
  apus_session *session = NULL;
  check(apus_session_create(model, NULL, &session));
  apus_model_destroy(model); // The session keeps what it needs.

  // The tensor views this array: nothing is copied.
  float pixels[64];
  for (int i = 0; i < 64; i++) pixels[i] = (float)picture[i] / 16;
  const int64_t shape[4] = {1, 1, 8, 8};
  apus_value *image = NULL;
  check(apus_value_create_tensor_over(APUS_FLOAT32, shape, 4, pixels, sizeof pixels, NULL, NULL, &image));

  const apus_value *inputs[1] = {image};
  apus_value *outputs[1] = {NULL};
  check(apus_session_run(session, inputs, 1, outputs, 1, NULL));

  const float *probabilities = apus_value_const_data(outputs[0]);
  size_t best = 0;
  for (size_t i = 0; i < apus_value_count(outputs[0]); i++) {
    printf("%zu  %5.1f %%\n", i, 100 * (double)probabilities[i]);
    if (probabilities[i] > probabilities[best]) best = i;
  }
  printf("Apus %s reads a %zu.\n", apus_version(), best);

  apus_value_destroy(outputs[0]);
  apus_value_destroy(image);
  apus_session_destroy(session);
  return best == 3 ? EXIT_SUCCESS : EXIT_FAILURE;
}
