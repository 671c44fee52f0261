// What a volume or snapshot consists of beyond the lifetime of its server.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_RECORD_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_RECORD_H_

#include <array>
#include <atomic>
#include <cstdint>

namespace ramvol::engine {

struct Node;
struct TextPiece;

// The top of an index, the size that goes with it, and what else is said of it.
struct Top {
  std::atomic<Node*> root{nullptr};
  std::atomic<uint64_t> size_bytes{0};
  std::atomic<TextPiece*> description{nullptr};
};

// A volume or snapshot is a record: from it, all of its content is reached. All
// fields change by one store each, so a record is whole at any time.
struct Record {
  explicit Record(uint64_t size_bytes) {
    tops[0].size_bytes.store(size_bytes, std::memory_order_relaxed);
  }

  // Which of `tops` is in force; the other one is prepared before it is.
  std::atomic<uint32_t> current{0};
  // Not 0: a recovery found that what it reaches is damaged.
  std::atomic<uint32_t> damaged{0};
  std::array<Top, 2> tops;
  // The record list's. `previous` is not looked at when a list is recovered.
  std::atomic<Record*> next{nullptr};
  Record* previous = nullptr;

  Top& top() { return tops[current.load(std::memory_order_acquire)]; }
  const Top& top() const {
    return tops[current.load(std::memory_order_acquire)];
  }
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_RECORD_H_
