// Takes the tensor payloads out of a model's bytes before libonnx sees them.
#pragma once

#include <string>
#include <vector>

#include "schema.h"

namespace apus {

/// A piece of one payload field, as it stands in the model's bytes.
struct Chunk {
  uint64_t offset;  ///< In the model's bytes.
  uint64_t length;  ///< In bytes; of an unpacked field it includes the tags.
  uint64_t count;   ///< Elements.
  uint8_t field;    ///< TensorProto's field number.
  bool packed;      ///< Elements back to back; otherwise each has its tag (and strings their length).
};

/// The chunks of one TensorProto occurrence: chunks[first, first + count).
struct Payload {
  uint32_t first;
  uint32_t count;
};

struct ScanResult {
  /// The model with each payload field removed, and payloadIndexField added to each tensor that had one. Where a tensor
  /// occurs twice on the wire libonnx merges the occurrences and keeps both indices, in order.
  std::string reduced;
  std::vector<Chunk> chunks;
  std::vector<Payload> payloads;
};

struct ScanLimits {
  uint32_t maxDepth;
  uint64_t maxParsedBytes;
};

/// Scans `size` bytes of a ModelProto. Iterative, linear in `size` at worst; raw payloads are skipped without touching them.
/// Throws Failure: invalidModel with path and offset where the wire format is broken, limitExceeded.
ScanResult scan(const uint8_t *data, uint64_t size, ScanLimits limits);

}  // namespace apus
