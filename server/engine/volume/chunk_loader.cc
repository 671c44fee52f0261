#include "server/engine/volume/chunk_loader.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "server/engine/content/chunk_map.h"
#include "server/engine/content/content.h"
#include "server/engine/content/frame.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {
namespace {

// What a frame takes beside its bytes, about.
constexpr uint64_t kFrameRoomBytes = 64;

// Frame::room.
uint8_t RoomOf(uint64_t bytes) {
  const uint64_t units = (bytes + Frame::kRoomUnit - 1) / Frame::kRoomUnit;
  return static_cast<uint8_t>(std::min<uint64_t>(units, 255));
}

// The blocks of the chunk that are in a volume of `size` bytes.
BlockMask BlocksBelow(uint64_t size, uint64_t chunk) {
  const uint64_t begin = chunk * kChunkBytes;
  return begin >= size ? 0 : BlocksIn(0, std::min(kChunkBytes, size - begin));
}

// The one frame of a map that is outside, or nullptr.
Frame* OutsideFrame(const ChunkMap& map) {
  Frame* outside = nullptr;
  map.ForEachFrame([&](Frame* frame, BlockMask) {
    if (frame->outside()) outside = frame;
  });
  return outside;
}

bool IsOutside(ChunkEntry entry) {
  const Frame* whole = WholeFrame(entry);
  return whole != nullptr ? whole->outside()
                          : OutsideFrame(ChunkMap::Unpack(entry)) != nullptr;
}

}  // namespace

Refusal ChunkLoader::Add(uint32_t image,
                         absl::Span<const OutsideChunk> chunks) {
  for (const auto& [chunk, room_bytes] : chunks) {
    const std::shared_ptr<Layer> layer = parts_.content.layer();
    const BlockMask blocks = BlocksBelow(parts_.content.size_bytes(), chunk);
    if (blocks == 0) continue;
    const uint64_t bytes = parts_.content.MetadataBytes(1);
    Frame* frame = nullptr;
    if (reclaimer_.FindRoom(*layer, bytes)) {
      frame = NewFrame(layer->account, Priority::kNormal, blocks, image, {});
    }
    if (frame == nullptr) return reclaimer_.OutOfMemory(*layer);
    frame->heat.store(0, std::memory_order_relaxed);
    frame->room = RoomOf(room_bytes);
    bool stored = false;
    Replaced replaced;
    const Refusal refusal =
        parts_.content.Edit({.chunk = chunk, .create = true}, *layer, &replaced,
                            [&](ChunkMap& map) {
                              DropHot(map, kAllBlocks, &replaced);
                              map.cold.fill({});
                              for (const int block : Bits(blocks)) {
                                map.cold[block] = Slot::OfFrame(frame);
                              }
                              stored = true;
                            });
    Free(&replaced);
    if (!stored) ReleaseFrame(layer->account, frame);
    if (!refusal.ok()) return refusal;
  }
  return Refusal();
}

Refusal ChunkLoader::Find(uint64_t chunk, ChunkRefs* refs,
                          const Frame** frame) const {
  return parts_.content.Look(chunk, 0, [&](const ChunkMap& map) {
    *frame = OutsideFrame(map);
    ChunkMap below = map;
    below.hot = nullptr;
    if (*frame != nullptr) refs->Take(below, map.BlocksOf(*frame));
    return false;
  });
}

std::optional<uint32_t> ChunkLoader::ImageOf(uint64_t chunk) const {
  ChunkRefs refs(parts_.arena());
  const Frame* frame = nullptr;
  if (!Find(chunk, &refs, &frame).ok() || frame == nullptr) return std::nullopt;
  return frame->checksum;
}

std::shared_ptr<ChunkLoader> ChunkLoader::LoadBelow(uint32_t image,
                                                    uint64_t chunk) const {
  std::vector<std::shared_ptr<ChunkLoader>> chain;
  for (std::optional<uint32_t> above = image; above.has_value();) {
    auto below = parts_.engine.outside->BelowOf(*above);
    if (below == nullptr) break;
    const std::optional<uint32_t> next = below->ImageOf(chunk);
    // It was reverted, even to what lies on its own image. Without this, the
    // search might not end.
    if (next.has_value() && *next >= *above) break;
    chain.push_back(std::move(below));
    above = next;
  }
  // Without what it lies on, nothing is shared.
  std::shared_ptr<ChunkLoader> below;
  for (; !chain.empty(); chain.pop_back()) {
    const bool loaded = chain.back()->LoadOnto(below.get(), chunk).ok();
    below = loaded ? std::move(chain.back()) : nullptr;
  }
  return below;
}

Refusal ChunkLoader::Load(uint64_t chunk) {
  std::shared_ptr<ChunkLoader> below;
  if (active()) {
    const std::optional<uint32_t> image = ImageOf(chunk);
    if (image.has_value()) below = LoadBelow(*image, chunk);
  }
  return LoadOnto(below.get(), chunk);
}

Refusal ChunkLoader::LoadOnto(ChunkLoader* below, uint64_t chunk) {
  const Refusal lost{Cause::kUnread, chunk};
  for (;;) {
    ChunkRefs refs(parts_.arena());
    const Frame* frame = nullptr;
    const Refusal refusal = Find(chunk, &refs, &frame);
    if (!refusal.ok() || frame == nullptr) return refusal;
    Outside* outside = parts_.engine.outside;
    const auto source = outside == nullptr ? nullptr : outside->source();
    if (source == nullptr) return lost;
    if (!outside->Enter(frame)) continue;
    EncodedChunk content;
    Refusal result = lost;
    if (source->Read(frame->checksum, chunk, &content).ok()) {
      result = Replace(*frame, below, &content);
      if (result.cause == Cause::kCorrupt) result = lost;
    }
    outside->Leave(frame);
    return result;
  }
}

Refusal ChunkLoader::Replace(const Frame& frame, ChunkLoader* below,
                             EncodedChunk* content) {
  const Home home = parts_.content.FindHome(content->chunk);
  if (!home) return Refusal();
  // A reserved volume has its room already.
  if (!parts_.packing.reserves()) {
    parts_.engine.outside->UseRoom(content->bytes() +
                                   content->runs.size() * kFrameRoomBytes);
  }
  Home shared;
  if (below != nullptr) {
    shared = below->parts_.content.FindHome(content->chunk);
  }
  return writer_.ReadIn(frame, home, shared, content);
}

void ChunkLoader::PutOne(uint32_t image, EncodedChunk* content) {
  ChunkRefs refs(parts_.arena());
  const Frame* frame = nullptr;
  if (!Find(content->chunk, &refs, &frame).ok() || frame == nullptr ||
      frame->checksum != image) {
    return;
  }
  const auto below = LoadBelow(image, content->chunk);
  Outside* outside = parts_.engine.outside;
  if (!outside->Enter(frame)) return;
  Replace(*frame, below.get(), content).Ignore();
  outside->Leave(frame);
}

void ChunkLoader::Put(uint32_t image, absl::Span<EncodedChunk> chunks) {
  parts_.engine.work.Share(chunks.size(),
                           [&](size_t i) { PutOne(image, &chunks[i]); });
}

void ChunkLoader::LoadPartial(uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  if (length == 0) return;
  const uint64_t first = offset / kChunkBytes;
  const uint64_t last = (end - 1) / kChunkBytes;
  if (offset % kChunkBytes != 0) Load(first).Ignore();
  const bool same = first == last && offset % kChunkBytes != 0;
  if (end % kChunkBytes != 0 && !same) Load(last).Ignore();
}

bool ChunkLoader::AnyOutside() const {
  bool any = false;
  std::optional<uint64_t> next = 0;
  while (!any && next.has_value()) {
    next = parts_.content.VisitLeaf(*next, [&](const Content::LeafView& leaf) {
      for (const int i : Bits(leaf.present())) {
        leaf.LookAt(i, [&](ChunkEntry entry) { any |= IsOutside(entry); });
      }
    });
  }
  return any;
}

std::optional<uint64_t> ChunkLoader::LoadLeaf(uint64_t chunk, Counts* counts) {
  std::vector<uint64_t> outside;
  const auto next =
      parts_.content.VisitLeaf(chunk, [&](const Content::LeafView& leaf) {
        for (const int i : Bits(leaf.present())) {
          leaf.LookAt(i, [&](ChunkEntry entry) {
            if (IsOutside(entry)) outside.push_back(leaf.first_chunk() + i);
          });
        }
      });
  for (const uint64_t one : outside) {
    if (one < chunk) continue;
    ++counts->found;
    if (!Load(one).ok()) ++counts->failed;
  }
  return next;
}

}  // namespace ramvol::engine
