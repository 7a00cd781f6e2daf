// The names of Unicode's scalars are half a megabyte of tables in Swift's run time, for a property that nothing in Apus reads. The
// linker lets the run time call this instead (`--wrap` in the Makefile) and leaves the tables out.
#include <stdint.h>

intptr_t __wrap__swift_stdlib_getScalarName(uint32_t scalar, uint8_t *buffer, intptr_t capacity);

/// Writes no name: the length of the name of `scalar` is 0.
intptr_t __wrap__swift_stdlib_getScalarName(uint32_t scalar, uint8_t *buffer, intptr_t capacity) {
  (void)scalar, (void)buffer, (void)capacity;
  return 0;
}
