#include "scanner.h"

#include <climits>

#include "messages.h"
#include "wire.h"

namespace apus {
namespace {

struct Frame {
  Kind kind;
  uint32_t groupField;    // of a group: the field that opened it
  const char *name;       // how the parent calls this message
  uint64_t end;           // in the model's bytes
  size_t lengthPosition;  // in the reduced bytes: the length to fill in; npos where it stays as it is
  size_t firstChunk;      // of a tensor
};

constexpr size_t npos = static_cast<size_t>(-1);

class Scanner {
 public:
  Scanner(const uint8_t *data, uint64_t size, ScanLimits limits) : data_(data), size_(size), limits_(limits) {}

  ScanResult run() {
    frames_.push_back({Kind::model, 0, "model", size_, npos, 0});
    charge(objectSize(Kind::model));
    while (true) {
      if (position_ == frames_.back().end) {
        if (frames_.back().kind == Kind::group) fail("a group is not closed", position_);
        if (frames_.size() == 1) break;
        close();
      } else {
        field();
      }
    }
    flush(position_);
    return std::move(result_);
  }

 private:
  const uint8_t *data_;
  uint64_t size_;
  ScanLimits limits_;
  uint64_t position_ = 0;
  uint64_t copied_ = 0;  // everything before it has been copied or dropped
  uint64_t parsedBytes_ = 0;
  std::vector<Frame> frames_;
  ScanResult result_;

  [[noreturn]] void fail(const char *what, uint64_t at) const {
    std::string path;
    const size_t shown = frames_.size() > 8 ? 8 : frames_.size();
    for (size_t i = 0; i < shown; ++i) path += (i ? "." : "") + std::string(frames_[i].name);
    if (shown < frames_.size()) path += "...";
    throw Failure(CAPUS_INVALID_MODEL, "not a valid ONNX model: " + path + ": " + what + " at byte " + std::to_string(at));
  }

  /// Counts memory that libonnx will need, before it allocates it.
  void charge(uint64_t bytes) {
    // No overflow: each charge is below 2^40 (a length of a file times 16) and the sum stops at the limit.
    parsedBytes_ += bytes;
    if (parsedBytes_ > limits_.maxParsedBytes)
      throw Failure(CAPUS_LIMIT_EXCEEDED, "the model's structure (without its tensors' data) needs more than the " +
                                              std::to_string(limits_.maxParsedBytes) + " bytes allowed");
  }

  /// Copies what lies between the last dropped bytes and `end` to the reduced form.
  void flush(uint64_t end) {
    if (end > copied_) {
      append(data_ + copied_, end - copied_);
      copied_ = end;
    }
  }

  void append(const uint8_t *bytes, uint64_t count) {
    if (count > INT_MAX - 64 || result_.reduced.size() > INT_MAX - 64 - count)
      throw Failure(CAPUS_LIMIT_EXCEEDED, "the model's structure (without its tensors' data) exceeds protobuf's 2 GiB");
    result_.reduced.append(reinterpret_cast<const char *>(bytes), count);
  }

  void dropField(uint64_t start) {
    flush(start);
    copied_ = position_;
  }

  void push(Frame frame) {
    if (frames_.size() >= limits_.maxDepth) {
      throw Failure(CAPUS_INVALID_MODEL, "messages nested deeper than " + std::to_string(limits_.maxDepth) + " levels at byte " +
                                             std::to_string(position_));
    }
    charge(objectSize(frame.kind) + 24);
    frames_.push_back(frame);
  }

  void field() {
    const Frame &frame = frames_.back();
    const uint64_t start = position_;
    uint32_t number = 0;
    wire::Type type = wire::varint;
    if (!wire::readTag(data_, position_, frame.end, number, type)) fail("a broken field tag", start);

    uint64_t length = 0;
    switch (type) {
      case wire::varint: {
        uint64_t value = 0;
        if (!wire::readVarint(data_, position_, frame.end, value)) fail("a broken varint", start);
        break;
      }
      case wire::fixed32:
        skip(4, start);
        break;
      case wire::fixed64:
        skip(8, start);
        break;
      case wire::startGroup:
        push({Kind::group, number, "group", frame.end, npos, 0});
        return;
      case wire::endGroup: {
        if (frame.kind != Kind::group || frame.groupField != number) fail("a group is closed that was not opened", start);
        frames_.pop_back();
        return;
      }
      case wire::bytes: {
        const uint64_t lengthStart = position_;
        if (!wire::readVarint(data_, position_, frame.end, length)) fail("a broken length", start);
        if (length > frame.end - position_) {
          fail(("a field of " + std::to_string(length) + " bytes where " + std::to_string(frame.end - position_) + " are left")
                   .c_str(),
               start);
        }
        const Child child = childOf(frame.kind, number);
        if (child.kind != Kind::none) {
          open(child, lengthStart, length);
          return;
        }
        break;
      }
    }
    if (frame.kind == Kind::tensor) {
      if (payloadField(number, type, length, start)) return;
      if (number == payloadIndexField) {
        // Only the scanner may write this field: a file's own would be taken for an index.
        if (type == wire::bytes) position_ += length;
        dropField(start);
        return;
      }
    }
    if (type == wire::bytes) {
      position_ += length;
      chargeBytes(frame.kind, number, length);
    } else {
      charge(16);
    }
  }

  void chargeBytes(Kind kind, uint32_t number, uint64_t length) {
    // Packed integers grow from one byte to eight, and arrays double while they grow; other fields are strings, whose
    // object takes 32 bytes, the pointer to it 8, and the allocation its overhead.
    const bool packedIntegers = (kind == Kind::attribute && number == 8) || (kind == Kind::tensor && number == 1) ||
                                (kind == Kind::sparseTensor && number == 3);
    charge(packedIntegers ? 64 + 16 * length : 64 + length);
  }

  void skip(uint64_t count, uint64_t start) {
    if (frames_.back().end - position_ < count) fail("a number is cut off", start);
    position_ += count;
  }

  /// Begins the message of `length` bytes at `position_`; its length stands at `lengthStart`.
  void open(Child child, uint64_t lengthStart, uint64_t length) {
    size_t lengthPosition = npos;
    if (mayContainTensors(child.kind)) {
      // The length will change: copy the tag, then leave room for the new length.
      flush(lengthStart);
      copied_ = position_;
      lengthPosition = result_.reduced.size();
      const uint8_t room[wire::paddedLengthSize] = {};
      append(room, sizeof room);
    }
    const uint64_t end = position_ + length;
    push({child.kind, 0, child.name, end, lengthPosition, result_.chunks.size()});
  }

  void close() {
    const Frame frame = frames_.back();
    if (frame.lengthPosition != npos) {
      flush(position_);
      if (frame.kind == Kind::tensor && result_.chunks.size() > frame.firstChunk) addPayloadIndex(frame.firstChunk);
      const size_t length = result_.reduced.size() - frame.lengthPosition - wire::paddedLengthSize;
      wire::paddedLength(&result_.reduced[frame.lengthPosition], static_cast<uint32_t>(length));
    }
    frames_.pop_back();
  }

  void addPayloadIndex(size_t firstChunk) {
    if (result_.chunks.size() > UINT32_MAX) throw Failure(CAPUS_LIMIT_EXCEEDED, "too many pieces of tensor data");
    const auto index = static_cast<uint32_t>(result_.payloads.size());
    result_.payloads.push_back(
        {static_cast<uint32_t>(firstChunk), static_cast<uint32_t>(result_.chunks.size() - firstChunk)});
    std::string encoded;
    wire::appendTag(encoded, payloadIndexField, wire::fixed32);
    char value[4];
    wire::storeFixed32(value, index);
    encoded.append(value, sizeof value);
    append(reinterpret_cast<const uint8_t *>(encoded.data()), encoded.size());
    charge(32 + sizeof(Payload));
  }

  /// Records a payload field that begins at `start` and takes it out. For length-delimited fields `position_` is at the
  /// content, otherwise behind the number. False when the field, with this wire type, is no payload.
  bool payloadField(uint32_t number, wire::Type type, uint64_t length, uint64_t start) {
    const Element element = payloadElement(number);
    const auto field = static_cast<uint8_t>(number);
    if (type == wire::bytes) {
      const uint64_t content = position_;
      switch (element) {
        case Element::none:
          return false;
        case Element::raw:
          position_ += length;
          addRaw({content, length, length, field, true});
          break;
        case Element::string:
          position_ += length;
          addUnpacked(field, start);
          break;
        case Element::fixed32:
        case Element::fixed64: {
          const uint64_t width = element == Element::fixed32 ? 4 : 8;
          if (length % width != 0) fail("packed numbers whose length is no multiple of their size", start);
          position_ += length;
          if (length != 0) addChunk({content, length, length / width, field, true});
          break;
        }
        case Element::varint: {
          const uint64_t count = countVarints(content, content + length, start);
          position_ += length;
          if (length != 0) addChunk({content, length, count, field, true});
          break;
        }
      }
      dropField(start);
      return true;
    }
    const bool unpacked = (element == Element::fixed32 && type == wire::fixed32) ||
                          (element == Element::fixed64 && type == wire::fixed64) ||
                          (element == Element::varint && type == wire::varint);
    if (!unpacked) return false;
    addUnpacked(field, start);
    dropField(start);
    return true;
  }

  uint64_t countVarints(uint64_t position, uint64_t end, uint64_t start) const {
    uint64_t count = 0;
    unsigned run = 0;
    for (; position < end; ++position) {
      if (data_[position] < 0x80) {
        ++count;
        run = 0;
      } else if (++run == 10) {
        fail("a packed varint of more than ten bytes", start);
      }
    }
    if (run != 0) fail("a packed varint is cut off", start);
    return count;
  }

  void addChunk(const Chunk &chunk) {
    charge(2 * sizeof(Chunk));
    result_.chunks.push_back(chunk);
  }

  /// raw_data is a singular field: a later one replaces an earlier one.
  void addRaw(const Chunk &chunk) {
    for (size_t i = result_.chunks.size(); i > frames_.back().firstChunk; --i) {
      if (result_.chunks[i - 1].field == chunk.field) {
        result_.chunks[i - 1] = chunk;
        return;
      }
      // Far back it is not worth looking: readers take the last.
      if (result_.chunks.size() - i == 8) break;
    }
    addChunk(chunk);
  }

  /// Adds the element in [start, position_) to the run of unpacked elements before it, or begins one.
  void addUnpacked(uint8_t field, uint64_t start) {
    if (result_.chunks.size() > frames_.back().firstChunk) {
      Chunk &last = result_.chunks.back();
      if (last.field == field && !last.packed && last.offset + last.length == start) {
        last.length = position_ - last.offset;
        ++last.count;
        return;
      }
    }
    addChunk({start, position_ - start, 1, field, false});
  }
};

}  // namespace

ScanResult scan(const uint8_t *data, uint64_t size, ScanLimits limits) { return Scanner(data, size, limits).run(); }

}  // namespace apus
