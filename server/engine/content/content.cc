#include "server/engine/content/content.h"

#include <algorithm>
#include <utility>

#include "server/engine/content/compare.h"
#include "server/engine/content/frame.h"
#include "server/engine/content/hot_node.h"
#include "server/engine/types/options.h"

namespace ramvol::engine {
namespace {

// Chunks that a leaf takes out of their cells while snapshots wait.
constexpr int kMaxAdoptedAtOnce = 8;

// The part of an entry's memory that is not only its own: of common frames and
// pages to which there are other references.
uint64_t SharedBytes(const Arena& arena, ChunkEntry entry) {
  const ChunkMap map = ChunkMap::Unpack(entry);
  uint64_t bytes = 0;
  map.ForEachFrame([&](const Frame* frame, BlockMask) {
    if (frame->HeldElsewhere()) bytes += frame->ChargedBytes();
  });
  const auto add_page = [&](PageId page) {
    if (arena.IsCommon(page) && arena.IsReferredToTwice(page)) {
      bytes += kPageBytes;
    }
  };
  for (const Slot& slot : map.cold) {
    if (slot.kind == SlotKind::kPage) add_page(slot.page());
  }
  if (map.hot == nullptr) return bytes;
  for (const int block : Bits(map.hot->present)) {
    add_page(map.hot->pages[block]);
  }
  return bytes;
}

uint64_t OwnBytesOf(Leaf* leaf) {
  SmallReaderLock lock(&leaf->mu);
  const Arena& arena = leaf->layer->account.arena();
  uint64_t bytes =
      Arena::AllocatedBytes(sizeof(Leaf)) + leaf->census.memory_bytes();
  for (const int i : Bits(leaf->copied & leaf->present & ~leaf->cells)) {
    bytes -= SharedBytes(arena, leaf->entries[i]);
  }
  for (const int i : Bits(leaf->cells)) {
    Cell* cell = CellOf(leaf->entries[i]);
    if (cell->count.shared()) continue;
    SmallReaderLock cell_lock(&cell->mu);
    bytes += Arena::AllocatedBytes(sizeof(Cell)) +
             TakeCensus(cell->entry).memory_bytes() -
             SharedBytes(arena, cell->entry);
  }
  return bytes;
}

void MeasureLeaf(Leaf* leaf, Content::Usage* usage) {
  SmallReaderLock lock(&leaf->mu);
  usage->census += leaf->census;
  usage->memory_bytes +=
      Arena::AllocatedBytes(sizeof(Leaf)) + leaf->census.memory_bytes();
  for (const int i : Bits(leaf->cells)) {
    Cell* cell = CellOf(leaf->entries[i]);
    SmallReaderLock cell_lock(&cell->mu);
    const Census census = TakeCensus(cell->entry);
    usage->census += census;
    usage->memory_bytes +=
        Arena::AllocatedBytes(sizeof(Cell)) + census.memory_bytes();
  }
}

}  // namespace

Content::Content(std::shared_ptr<Layer> layer, HotCache& hot, Record& record)
    : hot_(hot),
      size_bytes_(record.top().size_bytes.load(std::memory_order_relaxed)),
      index_(record, (size_bytes() - 1) / kChunkBytes + 1),
      layer_(std::move(layer)) {}

Content::~Content() {
  if (!left_) Clear(0, kLastChunk);
}

void Content::Recover(Recovery& recovery,
                      const std::shared_ptr<Layer>& shared) {
  StripedWriterLock index_lock(&index_.lock());
  const bool shares = recovery.Adopt(index_.PeekTree(), layer_, shared);
  may_share_.store(shares, std::memory_order_relaxed);
}

void Content::Leave() {
  StripedWriterLock index_lock(&index_.lock());
  ForgetLayers(index_.PeekTree(), Damage());
  if (damage_ != nullptr) ForgetLayers(sealed_, *damage_);
  left_ = true;
}

void Content::Seal(Recovery& recovery, const Tree& tree,
                   const std::shared_ptr<Layer>& shared) {
  StripedWriterLock index_lock(&index_.lock());
  CloseLocked();
  sealed_ = tree;
  damage_ = recovery.damage();
  recovery.Adopt(tree, layer_, shared);
}

void Content::FreeSealed() {
  CutDamage(sealed_, *damage_);
  Release({std::exchange(sealed_, {})});
}

std::shared_ptr<Layer> Content::layer() const {
  StripedReaderLock index_lock(&index_.lock());
  return layer_;
}

void Content::SetSizeLocked(uint64_t size_bytes, TextPiece** description) {
  index_.Grow((size_bytes - 1) / kChunkBytes + 1, layer_);
  index_.Resize(size_bytes, description);
  size_bytes_.store(size_bytes, std::memory_order_release);
}

Home Content::FindHome(uint64_t chunk) const {
  StripedReaderLock index_lock(&index_.lock());
  if (!CheckLocked(0).ok()) return Home();
  Leaf* leaf = index_.Find(chunk);
  if (leaf == nullptr) return Home();
  SmallReaderLock lock(&leaf->mu);
  const int i = static_cast<int>(chunk % kFanout);
  return leaf->entries[i] == 0 ? Home() : LeafView(leaf).PinHome(i);
}

std::optional<uint64_t> Content::FindLeaf(uint64_t chunk, uint32_t walk) const {
  StripedReaderLock index_lock(&index_.lock());
  if (!CheckLocked(0).ok()) return std::nullopt;
  const std::optional<Index::Position> position = index_.FindFrom(chunk, walk);
  if (!position.has_value()) return std::nullopt;
  return position->first_chunk;
}

Refusal Content::Edit(const Target& target, Layer& editor, Replaced* replaced,
                      EditMap edit) {
  for (;;) {
    Step step;
    {
      StripedReaderLock index_lock(&index_.lock());
      const Refusal refusal = CheckLocked(target.end);
      if (!refusal.ok()) return refusal;
      step = TryEditLocked(target, editor, replaced, edit);
    }
    if (step == Step::kEmptied) Prune(target.chunk, target.chunk);
    if (step != Step::kShared) return Refusal();
    Unshare(target.chunk);
  }
}

Content::Step Content::TryEditLocked(const Target& target, Layer& editor,
                                     Replaced* replaced, EditMap edit) {
  const Index::OwnLeaf own =
      index_.FindOwn(target.chunk, target.create, layer_);
  if (own.shared) return Step::kShared;
  Leaf* leaf = own.leaf;
  if (leaf == nullptr) {
    // A leaf of holes would only be made to be pruned again.
    ChunkMap holes;
    edit(holes);
    return Step::kDone;
  }
  const int i = static_cast<int>(target.chunk % kFanout);
  SmallMutexLock lock(&leaf->mu);
  if (leaf->layer != layer_) MoveCharges(leaf, layer_, hot_);
  if (CellOf(leaf->entries[i]) != nullptr) LeaveCell(leaf, i, hot_);
  EditIn(PlaceIn(leaf, i, hot_), editor, replaced, edit);
  Unsettle(leaf);
  const uint64_t bit = uint64_t{1} << i;
  leaf->present =
      leaf->entries[i] != 0 ? leaf->present | bit : leaf->present & ~bit;
  // This also prunes a leaf that was just made, if its edit changed nothing.
  return leaf->present == 0 ? Step::kEmptied : Step::kDone;
}

Refusal Content::Keep(uint64_t chunk, Layer& editor, Replaced* replaced,
                      EditMap edit) {
  const Home home = FindHome(chunk);
  if (home) KeepAt(home, hot_, editor, replaced, edit);
  return closed() ? Refusal{Cause::kDeleted} : Refusal();
}

void Content::UnshareLocked(uint64_t chunk, std::vector<Tree>* before) {
  const std::shared_ptr<Layer> layer = layer_;
  const size_t already = before->size();
  index_.Unshare(
      chunk, layer,
      [&](Leaf* leaf) {
        SmallMutexLock lock(&leaf->mu);
        return CopyLeaf(leaf, layer, hot_);
      },
      before);
  layer->counts->CountCopiedNodes(static_cast<int>(before->size() - already));
}

void Content::Unshare(uint64_t chunk) {
  std::vector<Tree> before;
  {
    StripedWriterLock index_lock(&index_.lock());
    UnshareLocked(chunk, &before);
  }
  Release(before);
}

void Content::Release(const std::vector<Tree>& trees) {
  for (const Tree& tree : trees) {
    ReleaseTree(tree, [&](Leaf* leaf) { EmptyLeaf(leaf, hot_); });
  }
}

void Content::Prune(uint64_t first, uint64_t last) {
  StripedWriterLock index_lock(&index_.lock());
  index_.Prune(first, last);
}

void Content::ClearPartLocked(uint64_t chunk, uint64_t first, uint64_t last,
                              std::vector<Tree>* detached, Replaced* replaced) {
  Leaf* shared = index_.Find(chunk);
  if (shared == nullptr) return;
  const uint64_t from = std::max(first, shared->first_chunk);
  const uint64_t to = std::min(last, shared->first_chunk + (kFanout - 1));
  if (to - from == kFanout - 1) return;  // All of it will be detached.
  const uint64_t range = (~uint64_t{0} >> (kFanout - 1 - (to - from)))
                         << (from - shared->first_chunk);
  {
    SmallReaderLock lock(&shared->mu);
    if ((shared->present & range) == 0) return;
  }
  UnshareLocked(chunk, detached);
  Leaf* leaf = index_.Find(chunk);
  SmallMutexLock lock(&leaf->mu);
  if (leaf->layer != layer_) MoveCharges(leaf, layer_, hot_);
  for (const int i : Bits(leaf->present & range)) {
    ClearEntry(leaf, i, hot_, replaced);
  }
  Unsettle(leaf);
}

void Content::Clear(uint64_t first, uint64_t last) {
  std::vector<Tree> detached;
  Replaced replaced;
  const std::shared_ptr<Layer> charged = layer();
  {
    StripedWriterLock index_lock(&index_.lock());
    ClearPartLocked(first, first, last, &detached, &replaced);
    ClearPartLocked(last, first, last, &detached, &replaced);
    index_.Detach(first, last, layer_, &detached);
    index_.Prune(first, last);
  }
  Free(&replaced);
  Release(detached);
}

void Content::MoveMaps(uint64_t first_chunk) {
  StripedReaderLock index_lock(&index_.lock());
  if (!CheckLocked(0).ok()) return;
  Leaf* leaf = index_.Find(first_chunk);
  if (leaf == nullptr) return;
  SmallMutexLock lock(&leaf->mu);
  for (const int i : Bits(leaf->present)) {
    Cell* cell = CellOf(leaf->entries[i]);
    if (cell == nullptr) {
      MoveMap(&leaf->entries[i], leaf->layer->account);
      continue;
    }
    SmallMutexLock cell_lock(&cell->mu);
    MoveMap(&cell->entry, cell->layer->account);
  }
}

void Content::AdoptLeaf(uint64_t first_chunk) {
  while (AdoptSome(first_chunk)) {
  }
}

bool Content::AdoptSome(uint64_t first_chunk) {
  StripedReaderLock index_lock(&index_.lock());
  if (!CheckLocked(0).ok()) return false;
  const Index::OwnLeaf own = index_.FindOwn(first_chunk, false, layer_);
  if (own.leaf == nullptr) return false;
  SmallMutexLock lock(&own.leaf->mu);
  if (own.leaf->layer != layer_) MoveCharges(own.leaf, layer_, hot_);
  int adopted = 0;
  for (const int i : Bits(own.leaf->cells)) {
    if (CellOf(own.leaf->entries[i])->count.shared()) continue;
    if (adopted++ == kMaxAdoptedAtOnce) return true;
    LeaveCell(own.leaf, i, hot_);
  }
  return false;
}

Tree Content::ShareLocked(std::shared_ptr<Layer>* layer) {
  layer_.swap(*layer);
  return ShareLocked();
}

Tree Content::ShareLocked() {
  may_share_.store(true, std::memory_order_relaxed);
  return index_.Share();
}

void Content::BecomeLocked(const Tree& tree, uint64_t size_bytes,
                           TextPiece** description, std::vector<Tree>* before) {
  may_share_.store(true, std::memory_order_relaxed);
  index_.Become(tree, size_bytes, description, before);
  index_.Grow((size_bytes - 1) / kChunkBytes + 1, layer_);
  size_bytes_.store(size_bytes, std::memory_order_release);
}

Refusal Content::Compare(const Content& other, uint64_t first, uint64_t last,
                         Changed changed) const ABSL_NO_THREAD_SAFETY_ANALYSIS {
  // By address, as all who lock two of them.
  const Content* const one = std::min(this, &other);
  const Content* const two = std::max(this, &other);
  uint64_t next = first;
  while (next <= last) {
    std::vector<ChangedChunk> found;
    {
      StripedReaderLock one_lock(&one->index_.lock());
      StripedReaderLock two_lock(&two->index_.lock());
      const Refusal refusal = CheckLocked(0);
      if (!refusal.ok()) return refusal;
      next = CompareLeaf(index_, other.index_, next, &found);
    }
    for (const ChangedChunk& chunk : found) {
      if (chunk.chunk > last) return Refusal();
      if (chunk.chunk >= first && !changed(chunk.chunk, chunk.blocks)) {
        return Refusal();
      }
    }
  }
  return Refusal();
}

void Content::Walk(Index::Which which, Index::VisitNode visit) const {
  std::optional<uint64_t> next = 0;
  while (next.has_value()) {
    StripedReaderLock index_lock(&index_.lock());
    if (!CheckLocked(0).ok()) return;
    next = index_.VisitFrom(*next, which, visit);
  }
}

Content::Usage Content::Measure() const {
  Usage usage;
  Walk(Index::Which::kAll, [&](Node* node, int level, bool own) {
    if (level == 0) {
      Leaf* leaf = static_cast<Leaf*>(node);
      MeasureLeaf(leaf, &usage);
      if (own) usage.own_bytes += OwnBytesOf(leaf);
      return;
    }
    usage.memory_bytes += Arena::AllocatedBytes(sizeof(Inner));
    if (own) usage.own_bytes += Arena::AllocatedBytes(sizeof(Inner));
  });
  // A leaf may grow between the two.
  usage.own_bytes = std::min(usage.own_bytes, usage.memory_bytes);
  return usage;
}

uint64_t Content::OwnBytes() const {
  uint64_t bytes = 0;
  Walk(Index::Which::kOwn, [&](Node* node, int level, bool) {
    bytes += level == 0 ? OwnBytesOf(static_cast<Leaf*>(node))
                        : Arena::AllocatedBytes(sizeof(Inner));
  });
  return bytes;
}

}  // namespace ramvol::engine
