#include "expander.h"

#include <climits>

#include "messages.h"
#include "wire.h"

namespace apus {
namespace {

constexpr uint32_t rawDataField = 9;

struct Frame {
  Kind kind;
  uint64_t end;    // in the reduced bytes
  size_t measure;  // index of this message in Expander::sizes_
};

/// Both passes walk the messages that may contain tensors in the same order; the first measures them, the second writes.
class Expander {
 public:
  Expander(const std::string &reduced, const std::vector<OutPayload> &payloads)
      : data_(reinterpret_cast<const uint8_t *>(reduced.data())), size_(reduced.size()), payloads_(payloads) {}

  uint64_t measure() {
    walk(nullptr);
    if (sizes_[0] > INT_MAX) {
      throw Failure(CAPUS_LIMIT_EXCEEDED, "the model would take " + std::to_string(sizes_[0]) +
                                              " bytes; an ONNX file must stay below 2 GiB");
    }
    return sizes_[0];
  }

  void write(const Sink &sink) { walk(&sink); }

 private:
  const uint8_t *data_;
  uint64_t size_;
  const std::vector<OutPayload> &payloads_;
  std::vector<uint64_t> sizes_;  // of each walked message, without tag and length, in order of their beginnings

  [[noreturn]] static void broken() {
    throw Failure(CAPUS_INTERNAL_ERROR, "libprotobuf wrote a model that cannot be read back");
  }

  void walk(const Sink *sink) {
    uint64_t position = 0;
    uint64_t copied = 0;
    size_t next = 0;
    std::vector<Frame> frames;
    std::string header;
    const auto begin = [&](Kind kind, uint64_t end) {
      if (!sink) sizes_.push_back(0);
      frames.push_back({kind, end, next++});
    };
    const auto flush = [&](uint64_t end) {
      if (end > copied) {
        if (sink) (*sink)(data_ + copied, end - copied);
        else sizes_[frames.back().measure] += end - copied;
      }
      copied = end;
    };
    begin(Kind::model, size_);
    while (true) {
      const Frame frame = frames.back();
      if (position == frame.end) {
        flush(position);
        frames.pop_back();
        if (frames.empty()) return;
        // The length field is not part of the child's size: it depends on it.
        if (!sink) sizes_[frames.back().measure] += wire::varintSize(sizes_[frame.measure]) + sizes_[frame.measure];
        continue;
      }
      const uint64_t start = position;
      uint32_t number = 0;
      wire::Type type = wire::varint;
      uint64_t value = 0;
      if (!wire::readTag(data_, position, frame.end, number, type)) broken();
      switch (type) {
        case wire::varint:
          if (!wire::readVarint(data_, position, frame.end, value)) broken();
          break;
        case wire::fixed64:
          if (frame.end - position < 8) broken();
          position += 8;
          break;
        case wire::fixed32: {
          if (frame.end - position < 4) broken();
          const uint32_t index = wire::loadFixed32(data_ + position);
          position += 4;
          if (frame.kind != Kind::tensor || number != payloadIndexField) break;
          if (index >= payloads_.size()) broken();
          flush(start);
          copied = position;
          const OutPayload &payload = payloads_[index];
          header.clear();
          wire::appendTag(header, rawDataField, wire::bytes);
          wire::appendVarint(header, payload.size);
          if (sink) {
            (*sink)(reinterpret_cast<const uint8_t *>(header.data()), header.size());
            (*sink)(payload.data, payload.size);
          } else {
            sizes_[frame.measure] += header.size() + payload.size;
          }
          break;
        }
        case wire::bytes: {
          const uint64_t lengthStart = position;
          if (!wire::readVarint(data_, position, frame.end, value) || value > frame.end - position) broken();
          const Kind kind = childOf(frame.kind, number).kind;
          if (!mayContainTensors(kind)) {
            position += value;
            break;
          }
          flush(lengthStart);
          copied = position;
          if (sink) {
            header.clear();
            wire::appendVarint(header, sizes_[next]);
            (*sink)(reinterpret_cast<const uint8_t *>(header.data()), header.size());
          }
          begin(kind, position + value);
          break;
        }
        case wire::startGroup:
        case wire::endGroup:
          broken();
      }
    }
  }
};

}  // namespace

void expand(const std::string &reduced, const std::vector<OutPayload> &payloads,
            const std::function<void(uint64_t)> &begin, const Sink &sink) {
  Expander expander(reduced, payloads);
  begin(expander.measure());
  expander.write(sink);
}

}  // namespace apus
