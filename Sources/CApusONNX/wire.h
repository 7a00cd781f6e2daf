// Reading and writing protobuf's wire format.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

namespace apus::wire {

enum Type : uint32_t { varint = 0, fixed64 = 1, bytes = 2, startGroup = 3, endGroup = 4, fixed32 = 5 };

/// Reads a varint of at most ten bytes in data[position, end). False when it is longer or cut off; `position` is then
/// unspecified. Bits beyond the 64th are dropped, as protobuf does.
inline bool readVarint(const uint8_t *data, uint64_t &position, uint64_t end, uint64_t &value) {
  uint64_t result = 0;
  for (unsigned shift = 0; shift < 70; shift += 7) {
    if (position >= end) return false;
    const uint8_t byte = data[position++];
    result |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) {
      value = result;
      return true;
    }
  }
  return false;
}

/// Reads a tag: a field number in 1...2^29-1 and a wire type in 0...5. At most five bytes, as protobuf demands.
inline bool readTag(const uint8_t *data, uint64_t &position, uint64_t end, uint32_t &field, Type &type) {
  const uint64_t start = position;
  uint64_t tag = 0;
  if (!readVarint(data, position, end, tag) || position - start > 5 || tag > UINT32_MAX) return false;
  field = static_cast<uint32_t>(tag >> 3);
  type = static_cast<Type>(tag & 7);
  return field != 0 && (tag & 7) <= 5;
}

inline void appendVarint(std::string &out, uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

inline void appendTag(std::string &out, uint32_t field, Type type) {
  appendVarint(out, static_cast<uint64_t>(field) << 3 | type);
}

inline void appendBytes(std::string &out, uint32_t field, const void *data, size_t size) {
  appendTag(out, field, bytes);
  appendVarint(out, size);
  out.append(static_cast<const char *>(data), size);
}

inline unsigned varintSize(uint64_t value) {
  unsigned size = 1;
  for (; value >= 0x80; value >>= 7) ++size;
  return size;
}

/// Bytes of a length written with paddedLength().
constexpr size_t paddedLengthSize = 5;

/// Writes a length below 2^31 as a varint of exactly five bytes, so that it can be filled in later.
inline void paddedLength(char *out, uint32_t length) {
  for (int i = 0; i < 4; ++i) out[i] = static_cast<char>((length >> (7 * i) & 0x7f) | 0x80);
  out[4] = static_cast<char>(length >> 28);
}

inline uint32_t loadFixed32(const uint8_t *data) {
  return data[0] | static_cast<uint32_t>(data[1]) << 8 | static_cast<uint32_t>(data[2]) << 16 |
         static_cast<uint32_t>(data[3]) << 24;
}

inline void storeFixed32(char *out, uint32_t value) {
  for (int i = 0; i < 4; ++i) out[i] = static_cast<char>(value >> (8 * i));
}

}  // namespace apus::wire
