#include "server/engine/volume/encoded_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/types/span.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/codec.h"
#include "server/engine/content/content.h"
#include "server/engine/content/home.h"
#include "server/engine/content/scratch.h"

namespace ramvol::engine {
namespace {

// Of what has to be compressed again. Near what qemu-img uses, which is 3.
constexpr int kAgainLevel = 3;
constexpr int kTightLevel = 19;

StoredChunk Describe(uint64_t chunk, const RunPlan& plan) {
  StoredChunk stored{.chunk = chunk, .exact = true};
  for (const PlannedRun& run : plan) {
    ++stored.runs;
    stored.bytes += run.bytes;
    stored.exact = stored.exact && run.kind != PlannedKind::kCompress;
  }
  return stored;
}

bool AnyOutside(const ChunkMap& map) {
  bool any = false;
  map.ForEachFrame(
      [&](const Frame* frame, BlockMask) { any |= frame->outside(); });
  return any;
}

bool AnySameFilled(absl::Span<const char> content) {
  for (size_t at = 0; at < content.size(); at += kBlockBytes) {
    if (codec::SameFilledPattern(&content[at]).has_value()) return true;
  }
  return false;
}

// Compresses `content` to `to`, which has room for as many bytes, or copies it.
EncodedRun Encode(int first_block, absl::Span<const char> content, int level,
                  char* to) {
  const int blocks = static_cast<int>(content.size() / kBlockBytes);
  const size_t size =
      level == 0
          ? 0
          : codec::Compress(content, level, {to, MaxStoredBytes(blocks)});
  if (size == 0) {
    std::memcpy(to, content.data(), content.size());
    return {.kind = RunKind::kRaw,
            .first_block = first_block,
            .blocks = blocks,
            .bytes = {to, content.size()}};
  }
  return {.kind = RunKind::kFrame,
          .first_block = first_block,
          .blocks = blocks,
          .checksum = codec::Checksum(content),
          .as_stored = !AnySameFilled(content),
          .bytes = {to, size}};
}

}  // namespace

std::optional<uint64_t> EncodedReader::List(
    uint64_t first, uint64_t last, size_t most,
    std::vector<StoredChunk>* found) const {
  std::optional<uint64_t> next = first;
  std::vector<size_t> unready;
  const size_t begin = found->size();
  while (next.has_value() && *next <= last && found->size() - begin < most) {
    const uint64_t from = *next;
    next = parts_.content.VisitLeaf(from, [&](const Content::LeafView& leaf) {
      for (const int i : Bits(leaf.present())) {
        const uint64_t chunk = leaf.first_chunk() + i;
        if (chunk < from || chunk > last) continue;
        leaf.LookAt(i, [&](ChunkEntry entry) {
          if (const Frame* whole = WholeFrame(entry);
              whole != nullptr && whole->blocks == kAllBlocks &&
              !whole->outside()) {
            found->push_back({chunk, whole->stored, 1, true});
            return;
          }
          BlockMask dirty = 0;
          const ChunkMap map = WithoutOverlay(ChunkMap::Unpack(entry), &dirty);
          if (dirty != 0 || AnyOutside(map)) {
            unready.push_back(found->size());
          }
          found->push_back(Describe(chunk, PlanRuns(map, dirty)));
        });
      }
    });
  }
  for (const size_t i : unready) MakeReady((*found)[i].chunk, &(*found)[i]);
  if (next.has_value() && *next > last) return std::nullopt;
  return next;
}

void EncodedReader::MakeReady(uint64_t chunk, StoredChunk* stored) const {
  if (const Home home = parts_.content.FindHome(chunk)) {
    parts_.engine.chunks.Flush(home);
  }
  Taken taken{ChunkRefs(parts_.arena()), {}};
  if (Take(chunk, &taken).ok()) *stored = Describe(chunk, taken.plan);
}

Refusal EncodedReader::Take(uint64_t chunk, Taken* taken) const {
  for (;;) {
    bool outside = false;
    const Refusal refusal =
        parts_.content.Look(chunk, 0, [&](const ChunkMap& map) {
          BlockMask dirty = 0;
          const ChunkMap flat = WithoutOverlay(map, &dirty);
          taken->refs.Take(flat, kAllBlocks);
          taken->plan = PlanRuns(flat, dirty);
          outside = AnyOutside(flat);
          return false;
        });
    if (!refusal.ok() || !outside) return refusal;
    const Refusal loaded = parts_.Load(chunk);
    if (!loaded.ok()) return loaded;
  }
}

Refusal EncodedReader::Read(uint64_t chunk, EncodedForm form,
                            EncodedChunk* out) const {
  out->chunk = chunk;
  out->runs.clear();
  if (out->buffer == nullptr) {
    out->buffer = std::make_unique<char[]>(EncodedChunk::kBufferBytes);
  }
  Taken taken{ChunkRefs(parts_.arena()), {}};
  const Refusal refusal = Take(chunk, &taken);
  if (!refusal.ok()) return refusal;
  if (form != EncodedForm::kAsStored) {
    return AddWhole(form, taken.refs, out) ? Refusal()
                                           : Refusal{Cause::kCorrupt, chunk};
  }
  char* at = out->buffer.get();
  for (const PlannedRun& planned : taken.plan) {
    if (!AddRun(planned, taken.refs, &at, out)) return {Cause::kCorrupt, chunk};
  }
  return Refusal();
}

bool EncodedReader::AddRun(const PlannedRun& planned, ChunkRefs& refs,
                           char** at, EncodedChunk* out) const {
  const size_t length = planned.blocks * kBlockBytes;
  EncodedRun run{.first_block = planned.first_block, .blocks = planned.blocks};
  if (planned.kind == PlannedKind::kFrame) {
    run.kind = RunKind::kFrame;
    run.as_stored = true;
    run.checksum = planned.frame->checksum;
    CopyStored(parts_.arena(), *planned.frame, *at);
    run.bytes = {*at, planned.frame->stored};
  } else if (planned.kind != PlannedKind::kZeroes) {
    ReadCost cost(parts_.totals().decompressions);
    // Each block at its place in the chunk.
    char* const chunk = ThreadScratch().chunk;
    const BlockMask damaged = refs.CopyBlocks(
        RunMask(planned.first_block, planned.blocks), chunk, &cost);
    parts_.counters.AddReadCost(cost);
    if (damaged != 0) return false;
    run = Encode(planned.first_block,
                 {chunk + planned.first_block * kBlockBytes, length},
                 planned.kind == PlannedKind::kCompress ? kAgainLevel : 0, *at);
  }
  *at += run.bytes.size();
  out->runs.push_back(run);
  return true;
}

bool EncodedReader::AddWhole(EncodedForm form, ChunkRefs& refs,
                             EncodedChunk* out) const {
  ReadCost cost(parts_.totals().decompressions);
  char* const chunk = ThreadScratch().chunk;
  const BlockMask damaged = refs.CopyBlocks(kAllBlocks, chunk, &cost);
  parts_.counters.AddReadCost(cost);
  if (damaged != 0) return false;
  out->runs.push_back(Encode(0, {chunk, kChunkBytes},
                             form == EncodedForm::kTight ? kTightLevel : 0,
                             out->buffer.get()));
  return true;
}

}  // namespace ramvol::engine
