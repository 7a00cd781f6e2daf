// libonnx's generated messages, and how errors are carried inside this module.
#pragma once

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
#pragma clang diagnostic ignored "-Wshorten-64-to-32"
#include <google/protobuf/arena.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/unknown_field_set.h>
#include <onnx/onnx_pb.h>
#pragma clang diagnostic pop

#include <cstdio>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#include "include/capus_onnx.h"

namespace apus {

/// An error on its way to the border.
struct Failure : std::runtime_error {
  capus_status code;
  Failure(capus_status code, const std::string &message) : std::runtime_error(message), code(code) {}
};

/// Fills `error`, if there is one. Allocates nothing.
inline capus_status report(capus_error *error, capus_status code, const char *message) noexcept {
  if (error) {
    error->code = code;
    std::snprintf(error->message, sizeof error->message, "%s", message);
  }
  return code;
}

/// Runs `body`, turns everything it throws into a status, and keeps protobuf from writing to stderr meanwhile.
template <typename Body>
capus_status guarded(capus_error *error, Body body) noexcept {
  try {
    // Scoped rather than a handler of our own: the host may use protobuf too, and its handler is global.
    google::protobuf::LogSilencer silencer;
    body();
    return CAPUS_OK;
  } catch (const Failure &failure) {
    return report(error, failure.code, failure.what());
  } catch (const std::bad_alloc &) {
    return report(error, CAPUS_OUT_OF_MEMORY, "out of memory");
  } catch (const std::length_error &) {
    return report(error, CAPUS_OUT_OF_MEMORY, "out of memory: a container would grow beyond its limit");
  } catch (const std::exception &exception) {
    return report(error, CAPUS_INTERNAL_ERROR, exception.what());
  } catch (...) {
    return report(error, CAPUS_INTERNAL_ERROR, "an unknown exception");
  }
}

inline capus_bytes bytesOf(const std::string &text) noexcept {
  return {reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

}  // namespace apus
