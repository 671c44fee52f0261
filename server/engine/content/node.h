// The objects that an index consists of, which roots share.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_NODE_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_NODE_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "base/small_mutex.h"
#include "server/engine/content/chunk_map.h"
#include "server/engine/content/home.h"
#include "server/engine/content/layer.h"

namespace ramvol::engine {

// Children of an inner node, and chunks of a leaf. A leaf covers 4 MiB.
inline constexpr int kFanoutBits = 6;
inline constexpr int kFanout = 1 << kFanoutBits;

// A chunk that two leaves refer to, since one was copied from the other. What
// background work does to it, it does for all of them. Whoever changes its
// content leaves it first.
struct Cell {
  Cell(ChunkEntry its_entry, uint64_t its_chunk,
       std::shared_ptr<Layer> its_layer)
      : entry(its_entry), chunk(its_chunk), layer(std::move(its_layer)) {}

  ShareCount count;  // References are those of leaves.
  SmallMutex mu;
  // Never a cell's. 0 once the last leaf has gone.
  ChunkEntry entry ABSL_GUARDED_BY(mu);
  const uint64_t chunk;
  // Pays for the cell and all in it. Constant.
  std::shared_ptr<Layer> layer;
};

// What an index node of any kind has.
struct Node {
  Node(int its_level, uint64_t chunk, std::shared_ptr<Layer> its_layer)
      : level(its_level), first_chunk(chunk), layer(std::move(its_layer)) {}

  ShareCount count;     // References are those of nodes above and of roots.
  const int32_t level;  // 0 for a leaf.
  // The last walk that has been through all of it, see Index::FindFrom.
  std::atomic<uint32_t> walked{0};
  const uint64_t first_chunk;  // Of those that it covers.
  // Pays for the node, and for what a leaf has outside of cells. Of a leaf,
  // guarded by its lock.
  std::shared_ptr<Layer> layer;
};

// The entries of 64 consecutive chunks. Its lock is held for look-ups and
// commits only, never while bytes are copied, compressed or decompressed. It
// comes before those of its cells.
struct Leaf : Node {
  Leaf(uint64_t chunk, std::shared_ptr<Layer> its_layer)
      : Node(0, chunk, std::move(its_layer)) {}

  SmallMutex mu;
  // Something changed since merging last looked.
  std::atomic<bool> unsettled{true};
  // Bit i: entries[i] is not a hole; it is a cell's.
  uint64_t present ABSL_GUARDED_BY(mu) = 0;
  uint64_t cells ABSL_GUARDED_BY(mu) = 0;
  // Bit i: entries[i] was copied from a cell, so it may hold common frames and
  // pages.
  uint64_t copied ABSL_GUARDED_BY(mu) = 0;
  std::array<ChunkEntry, kFanout> entries ABSL_GUARDED_BY(mu) = {};
  // Of the entries that are not cells.
  SmallCensus census ABSL_GUARDED_BY(mu) = {};
};

struct Inner : Node {
  using Node::Node;
  std::array<std::atomic<Node*>, kFanout> children = {};
};

// An entry that refers to a cell.
inline ChunkEntry EntryOf(Cell* cell) {
  return reinterpret_cast<uintptr_t>(cell) | kCellTag;
}
inline Cell* CellOf(ChunkEntry entry) {
  return (entry & 3) == kCellTag
             ? reinterpret_cast<Cell*>(entry & ~ChunkEntry{3})
             : nullptr;
}

// Make and free the memory of one. New ones have one reference and are nullptr
// at a limit.
template <typename T, typename First>
T* NewNode(const First& first, const std::shared_ptr<Layer>& layer,
           Priority priority) {
  void* memory = layer->account.New(sizeof(T), priority);
  return memory == nullptr ? nullptr : new (memory) T(first, layer);
}
// Frees an object with its last pin.
template <typename T>
void Unpin(T* object) {
  if (!object->count.Unpin()) return;
  const std::shared_ptr<Layer> layer = object->layer;
  object->~T();
  layer->account.Delete(object, sizeof(T));
}

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_NODE_H_
