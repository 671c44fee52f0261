// How to pack the blocks of one volume.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_PACKING_POLICY_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_PACKING_POLICY_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "server/engine/types/blocks.h"
#include "server/engine/types/options.h"

namespace ramvol::engine {

// Spans count blocks. Thread-safe; levels may change at any time.
class PackingPolicy {
 public:
  explicit PackingPolicy(const VolumeOptions& options)
      : allocator_(options.allocator),
        min_span_(static_cast<int>(options.min_frame_bytes / kBlockBytes)),
        max_span_(static_cast<int>(options.max_frame_bytes / kBlockBytes)),
        write_level_(options.write_level),
        merge_level_(options.merge_level) {}

  bool compresses() const { return allocator_ == Allocator::kZstd; }
  // Whether all memory was reserved at creation, so that writes never fail.
  bool reserves() const { return allocator_ == Allocator::kMalloc; }

  int min_span() const { return min_span_; }
  int max_span() const { return max_span_; }
  // Longest frames that random reads do not split.
  int split_span() const {
    return std::clamp(kSmallFrameBlocks, min_span_, max_span_);
  }
  // Longest frames that a write of `bytes` bytes makes.
  int write_span(uint64_t bytes) const {
    return bytes < kLongWriteBytes
               ? split_span()
               : std::clamp(2 * kSmallFrameBlocks, min_span_, max_span_);
  }

  int write_level() const {
    return write_level_.load(std::memory_order_relaxed);
  }
  int merge_level() const {
    return merge_level_.load(std::memory_order_relaxed);
  }
  void SetLevels(int write_level, int merge_level) {
    write_level_.store(write_level, std::memory_order_relaxed);
    merge_level_.store(merge_level, std::memory_order_relaxed);
  }

 private:
  // Random reads and writes of frames of this size cost little more than those
  // of single blocks (docs/decisions/0008).
  static constexpr int kSmallFrameBlocks = 4;
  // A write of this size or more is part of a stream that is likely to be read
  // back as one.
  static constexpr uint64_t kLongWriteBytes = 128 << 10;

  const Allocator allocator_;
  const int min_span_;
  const int max_span_;
  std::atomic<int> write_level_;
  std::atomic<int> merge_level_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_PACKING_POLICY_H_
