/// Calls of a Swift closure from a thread that the closure was not passed to.
///
/// Swift keeps a closure that does not escape on the caller's stack and offers no pointer to it that does not allocate.
/// Clang knows Swift's calling convention, by which such a closure is its code and, in a register of its own, its context.
#ifndef APUS_CLOSURE_H
#define APUS_CLOSURE_H

#include <stdint.h>

/// A closure of type (Int) -> Void. It lives as long as the call that the closure was passed to.
typedef struct apus_closure {
  const void *code;
  void *context;
} apus_closure;

/// Calls it, on any thread.
void apus_closure_call(const apus_closure *closure, intptr_t index);

#endif
