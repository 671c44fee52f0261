#include "server/engine/content/packer.h"

#include <bit>
#include <cstring>

#include "absl/types/span.h"
#include "base/clock.h"
#include "server/engine/content/codec.h"
#include "server/engine/content/scratch.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {
namespace {

void PartitionRun(BlockMask blocks, int first, int span, int min_span,
                  int max_span, Groups* groups) {
  const BlockMask here = blocks & RunMask(first, span);
  if (here == 0) return;
  // A frame is decompressed and rewritten as a whole. For few blocks that lie
  // far apart, that costs more than compressing them together gains.
  const bool dense = 2 * std::popcount(here) > span;
  if (span <= min_span || (span <= max_span && dense)) {
    groups->push_back(here);
    return;
  }
  PartitionRun(blocks, first, span / 2, min_span, max_span, groups);
  PartitionRun(blocks, first + span / 2, span / 2, min_span, max_span, groups);
}

}  // namespace

Groups Partition(BlockMask blocks, int min_span, int max_span) {
  Groups groups;
  PartitionRun(blocks, 0, kBlocksPerChunk, min_span, max_span, &groups);
  return groups;
}

const char* Gather(BlockMask blocks, const char* first) {
  return IsRun(blocks) ? first : GatherCopy(blocks, first);
}

const char* GatherCopy(BlockMask blocks, const char* first) {
  const int begin = std::countr_zero(blocks);
  char* const gathered = ThreadScratch().gathered;
  char* to = gathered;
  for (const int block : Bits(blocks)) {
    std::memcpy(to, first + (block - begin) * kBlockBytes, kBlockBytes);
    to += kBlockBytes;
  }
  return gathered;
}

bool PackGroup(Account& account, Priority priority, BlockMask blocks,
               const char* content, int level, Frame** frame, PackCost* cost) {
  *frame = nullptr;
  const int count = std::popcount(blocks);
  const absl::Span<const char> source(content, count * kBlockBytes);
  char* compressed = ThreadScratch().compressed;
  const int64_t start = SteadyNowNs();
  const size_t size =
      codec::Compress(source, level, {compressed, MaxStoredBytes(count)});
  const int64_t took_ns = SteadyNowNs() - start;
  cost->durations.Record(took_ns);
  cost->compress_ns += took_ns;
  ++cost->compressions;
  if (size == 0) return true;
  *frame = NewFrame(account, priority, blocks, codec::Checksum(source),
                    {compressed, size});
  return *frame != nullptr;
}

}  // namespace ramvol::engine
