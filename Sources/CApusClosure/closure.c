#include "apus_closure.h"

#define SWIFTCALL __attribute__((swiftcall))
#define SWIFT_CONTEXT __attribute__((swift_context))

typedef SWIFTCALL void body(intptr_t index, SWIFT_CONTEXT void *context);

// Declared in Swift, as a function that takes a closure: the closure arrives as two arguments.
SWIFTCALL void apus_closure_open(const void *code, void *context, apus_closure *closure);

SWIFTCALL void apus_closure_open(const void *code, void *context, apus_closure *closure) {
  closure->code = code;
  closure->context = context;
}

void apus_closure_call(const apus_closure *closure, intptr_t index) { ((body *)closure->code)(index, closure->context); }
