/* What the test programs share: expectations that are printed and counted, and values to feed. */
#ifndef APUS_TESTS_EXPECT_H
#define APUS_TESTS_EXPECT_H

#include <stdio.h>
#include <string.h>

#include "apus.h"

static int failures;

static inline void expect(int condition, const char *what) {
  printf("%s: %s\n", condition ? "ok" : "FAILED", what);
  /* The next thing to happen may be the end of the process. */
  fflush(stdout);
  failures += !condition;
}

/* Whether there is no error; prints and destroys one. */
static inline int succeeded(apus_error *error) {
  if (!error) return 1;
  printf("  %s\n", apus_error_message(error));
  apus_error_destroy(error);
  return 0;
}

static inline void expect_success(apus_error *error, const char *what) { expect(succeeded(error), what); }

/* A tensor of zeros of the input's type, unknown dimensions taken as 1; NULL where there is none. */
static inline apus_value *zeros(const apus_type *type) {
  enum { MOST_RANK = 16 };
  size_t rank = 0;
  int64_t dimensions[MOST_RANK];
  apus_value *value = NULL;
  if (!apus_type_rank(type, &rank) || rank > MOST_RANK) return NULL;
  for (size_t axis = 0; axis < rank; axis++) {
    int64_t size = apus_type_dimension(type, axis, NULL);
    dimensions[axis] = size < 0 ? 1 : size;
  }
  if (!succeeded(apus_value_create_tensor(apus_type_element_type(type), dimensions, rank, &value))) return NULL;
  memset(apus_value_data(value), 0, apus_value_size(value));
  return value;
}

#endif
