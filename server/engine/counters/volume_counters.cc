#include "server/engine/counters/volume_counters.h"

#include <algorithm>
#include <string_view>

namespace ramvol::engine {

std::string_view ReasonOf(Cause cause) {
  switch (cause) {
    case Cause::kDeleted:
      return reason::kVolumeDeleted;
    case Cause::kPastEnd:
    case Cause::kShrunk:
      return reason::kPastEnd;
    case Cause::kReadOnly:
      return reason::kVolumeReadOnly;
    case Cause::kSnapshot:
      return reason::kReadOnlySnapshot;
    case Cause::kTooLong:
      return reason::kTooMuchData;
    case Cause::kVolumeLimit:
      return reason::kVolumeMemoryLimit;
    case Cause::kServerLimit:
      return reason::kServerMemoryLimit;
    case Cause::kCorrupt:
    case Cause::kUnread:
      return reason::kCorruptFrame;
    case Cause::kDamaged:
      return reason::kVolumeDamaged;
    case Cause::kNone:
      break;
  }
  return kErrorReasons.back();
}

void VolumeCounters::CountOperation(Operation operation, int64_t took_ns,
                                    uint64_t bytes, Cause cause) {
  const auto index = static_cast<size_t>(operation);
  // The counters of all operations are consecutive, beginning with `first`.
  const auto own = [index](Counter first) {
    return static_cast<Counter>(static_cast<size_t>(first) + index);
  };
  totals_.operations[index].Record(took_ns);
  if (operation == Operation::kRead) {
    counters_.Add(Counter::kReadNs, took_ns);
  } else if (operation == Operation::kWrite) {
    counters_.Add(Counter::kWriteNs, took_ns);
  }
  if (cause != Cause::kNone) {
    counters_.Add(Counter::kFailures, 1);
    const size_t reason =
        std::find(kErrorReasons.begin(), kErrorReasons.end(), ReasonOf(cause)) -
        kErrorReasons.begin();
    errors_[index][reason].fetch_add(1, std::memory_order_relaxed);
    totals_.errors[reason].fetch_add(1, std::memory_order_relaxed);
    return;
  }
  counters_.Add(own(Counter::kReads), 1);
  if (bytes == 0) return;
  counters_.Add(own(Counter::kReadBytes), static_cast<int64_t>(bytes));
  if (operation == Operation::kRead) {
    totals_.counts.Add(Total::kReadBytes, static_cast<int64_t>(bytes));
  } else if (operation == Operation::kWrite) {
    totals_.counts.Add(Total::kWrittenBytes, static_cast<int64_t>(bytes));
  }
}

void VolumeCounters::CountLookups(int hits, int misses) {
  if (hits > 0) {
    counters_.Add(Counter::kHits, hits);
    totals_.counts.Add(Total::kHits, hits);
  }
  if (misses > 0) {
    counters_.Add(Counter::kMisses, misses);
    totals_.counts.Add(Total::kMisses, misses);
  }
}

void VolumeCounters::CountMergedFrames(int frames) {
  counters_.Add(Counter::kMergedFrames, frames);
  totals_.counts.Add(Total::kMergedFrames, frames);
}

void VolumeCounters::CountSplitFrames(int frames) {
  counters_.Add(Counter::kSplitFrames, frames);
  totals_.counts.Add(Total::kSplitFrames, frames);
}

void VolumeCounters::CountCopiedNodes(int nodes) {
  totals_.counts.Add(Total::kCopiedNodes, nodes);
}

void VolumeCounters::AddReadCost(const ReadCost& cost) {
  if (cost.decompressions == 0) return;
  counters_.Add(Counter::kDecompressions, cost.decompressions);
  counters_.Add(Counter::kDecompressNs, cost.decompress_ns);
  if (cost.corrupt_frames == 0) return;
  counters_.Add(Counter::kCorruptFrames, cost.corrupt_frames);
  totals_.counts.Add(Total::kCorruptFrames, cost.corrupt_frames);
}

void VolumeCounters::AddPackCost(const PackCost& cost) {
  if (cost.compressions == 0) return;
  counters_.Add(Counter::kCompressions, cost.compressions);
  counters_.Add(Counter::kCompressNs, cost.compress_ns);
}

uint64_t VolumeCounters::data_operations() const {
  return counters_.Sum(Counter::kReads) + counters_.Sum(Counter::kWrites);
}

uint64_t VolumeCounters::uses() const {
  return counters_.Sum(Counter::kReads) + counters_.Sum(Counter::kWrites) +
         counters_.Sum(Counter::kTrims) + counters_.Sum(Counter::kZeroes) +
         counters_.Sum(Counter::kFailures);
}

void VolumeCounters::FillIn(VolumeStats* stats) const {
  const auto sum = [this](Counter counter) { return counters_.Sum(counter); };
  stats->read_operations = sum(Counter::kReads);
  stats->write_operations = sum(Counter::kWrites);
  stats->trim_operations = sum(Counter::kTrims);
  stats->zero_operations = sum(Counter::kZeroes);
  stats->flush_operations = sum(Counter::kFlushes);
  stats->extents_operations = sum(Counter::kExtents);
  stats->failed_operations = sum(Counter::kFailures);
  stats->read_bytes = sum(Counter::kReadBytes);
  stats->written_bytes = sum(Counter::kWrittenBytes);
  stats->trimmed_bytes = sum(Counter::kTrimmedBytes);
  stats->zeroed_bytes = sum(Counter::kZeroedBytes);
  stats->cache_hits = sum(Counter::kHits);
  stats->cache_misses = sum(Counter::kMisses);
  stats->merged_frames = sum(Counter::kMergedFrames);
  stats->split_frames = sum(Counter::kSplitFrames);
  stats->compress_ns = sum(Counter::kCompressNs);
  stats->decompress_ns = sum(Counter::kDecompressNs);
  stats->compressions = sum(Counter::kCompressions);
  stats->decompressions = sum(Counter::kDecompressions);
  stats->corrupt_frames = sum(Counter::kCorruptFrames);
  stats->read_ns = sum(Counter::kReadNs);
  stats->write_ns = sum(Counter::kWriteNs);
  for (size_t operation = 0; operation < kOperations; ++operation) {
    for (size_t reason = 0; reason < kErrorReasons.size(); ++reason) {
      stats->errors[operation][reason] =
          errors_[operation][reason].load(std::memory_order_relaxed);
    }
  }
}

}  // namespace ramvol::engine
