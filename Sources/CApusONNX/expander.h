// The scanner's counterpart: puts tensor payloads back while a model is written.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "schema.h"

namespace apus {

/// Bytes of a raw_data field, owned by the caller of the writer.
struct OutPayload {
  const uint8_t *data;
  size_t size;
};

/// Takes the next bytes of the output. May throw.
using Sink = std::function<void(const uint8_t *data, size_t size)>;

/// Writes `reduced`, a serialised ModelProto, with each payloadIndexField of a tensor replaced by raw_data of that index.
/// First calls `begin` with the size of the whole, before anything is written. Throws Failure (limitExceeded) if that is
/// 2 GiB or more.
void expand(const std::string &reduced, const std::vector<OutPayload> &payloads,
            const std::function<void(uint64_t)> &begin, const Sink &sink);

}  // namespace apus
