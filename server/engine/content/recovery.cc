#include "server/engine/content/recovery.h"

#include <algorithm>
#include <bit>
#include <new>

#include "server/engine/content/chunk_edit.h"
#include "server/engine/content/frame.h"
#include "server/engine/content/hot_node.h"
#include "server/engine/content/publish.h"
#include "server/engine/memory/kill_point.h"

namespace ramvol::engine {
namespace {

// Makes what a process leaves in an object for itself as good as new, without a
// look at what it is.
template <typename T>
void Renew(T& field) {
  new (const_cast<std::remove_const_t<T>*>(&field)) T();
}

void RenewNode(Node* node) {
  Renew(node->count);
  Renew(node->layer);
  node->walked.store(0, std::memory_order_relaxed);
}

// Of its children or entries.
uint64_t LostOf(const Node* node, const Damage& damage) {
  if (damage.empty()) return 0;
  const auto found = damage.find(node);
  return found == damage.end() ? 0 : found->second;
}

template <typename Visit>
void ForEachFollowed(Inner* inner, const Damage& damage, const Visit& visit) {
  const uint64_t lost = LostOf(inner, damage);
  for (int i = 0; i < kFanout; ++i) {
    Node* child = inner->children[i].load(std::memory_order_acquire);
    if (child != nullptr && (lost >> i & 1) == 0) visit(child);
  }
}

constexpr int kMaxNodeLevel = 8;
// Marks shared nodes that ForgetLayers has been to; no walk has this number.
constexpr uint32_t kForgotten = ~uint32_t{0};
static_assert(kFanoutBits * (kMaxNodeLevel + 1) >= 47, "covers kLastChunk");

}  // namespace

std::vector<Recovery::Found> Recovery::ClaimAll(RecordList::Head* head,
                                                bool* lost) {
  std::vector<Found> found;
  *lost = false;
  std::atomic<Record*>* link = head;
  for (Record* previous = nullptr;;) {
    Record* record = link->load(std::memory_order_acquire);
    if (record == nullptr) return found;
    if (!arena_.Contains(record, sizeof(Record)) ||
        arena_.ClaimObject(record, sizeof(Record)) != Claim::kFirst) {
      *lost = true;
      link->store(nullptr, std::memory_order_release);
      return found;
    }
    claimed_.insert(record);
    record->previous = std::exchange(previous, record);
    const bool described = ClaimDescription(*record);
    Tree tree;
    const bool whole = ClaimContent(record, &tree);
    // What it reaches may look whole to the next process, once others have its
    // memory.
    if (!whole) Publish<uint32_t>(record->damaged, 1);
    KillPoint();
    found.push_back({record, !whole, tree, described});
    link = &record->next;
  }
}

bool Recovery::ClaimContent(Record* record, Tree* tree) {
  if (record->current.load(std::memory_order_relaxed) > 1) return false;
  const Top& top = record->top();
  const uint64_t size = top.size_bytes.load(std::memory_order_relaxed);
  bool whole = size >= 1 && size <= kMaxVolumeBytes &&
               record->damaged.load(std::memory_order_relaxed) == 0;
  Node* root = top.root.load(std::memory_order_acquire);
  if (root == nullptr) return whole;
  if (!arena_.Contains(root, sizeof(Node))) return false;
  const int level = root->level;
  if (level < 0 || level > kMaxNodeLevel) return false;
  // An index grows before its size does.
  const int shift = Index::ChildShift(level + 1);
  whole &= shift >= 64 || (size - 1) / kChunkBytes >> shift == 0;
  const Reach reach = ClaimNode(root, level, 0);
  if (reach != Reach::kNothing) *tree = {root, level};
  return reach == Reach::kAll && whole;
}

bool Recovery::ClaimDescription(const Record& record) {
  if (record.current.load(std::memory_order_relaxed) > 1) return false;
  const TextPiece* piece =
      record.top().description.load(std::memory_order_acquire);
  for (; piece != nullptr; piece = piece->next) {
    if (!arena_.Contains(piece, sizeof(TextPiece)) ||
        piece->bytes > TextPiece::kMaxBytes ||
        arena_.ClaimObject(piece, sizeof(TextPiece) + piece->bytes) !=
            Claim::kFirst) {
      return false;
    }
    claimed_.insert(piece);
  }
  return true;
}

// ---- Claiming -------------------------------------------------------------

Recovery::Reach Recovery::ClaimNode(Node* node, int level, uint64_t base) {
  const size_t bytes = level == 0 ? sizeof(Leaf) : sizeof(Inner);
  if (!arena_.Contains(node, bytes) || node->level != level ||
      node->first_chunk != base) {
    return Reach::kNothing;
  }
  switch (arena_.ClaimObject(node, bytes)) {
    case Claim::kInvalid:
      return Reach::kNothing;
    case Claim::kAgain:
      if (!claimed_.contains(node)) return Reach::kNothing;
      node->count.Ref();
      return damage_->contains(node) ? Reach::kPart : Reach::kAll;
    case Claim::kFirst:
      break;
  }
  claimed_.insert(node);
  RenewNode(node);
  const bool whole = level == 0 ? ClaimLeaf(static_cast<Leaf*>(node))
                                : ClaimChildren(static_cast<Inner*>(node));
  return whole ? Reach::kAll : Reach::kPart;
}

bool Recovery::ClaimChildren(Inner* inner) {
  const int shift = Index::ChildShift(inner->level);
  uint64_t lost = 0;
  bool whole = true;
  for (uint64_t i = 0; i < kFanout; ++i) {
    Node* child = inner->children[i].load(std::memory_order_acquire);
    if (child == nullptr) continue;
    const Reach reach =
        ClaimNode(child, inner->level - 1, inner->first_chunk + (i << shift));
    if (reach == Reach::kNothing) lost |= uint64_t{1} << i;
    whole &= reach == Reach::kAll;
  }
  if (!whole) damage_->emplace(inner, lost);
  return whole;
}

bool Recovery::ClaimLeaf(Leaf* leaf) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  Renew(leaf->mu);
  uint64_t lost = 0;
  for (int i = 0; i < kFanout; ++i) {
    ChunkEntry& entry = leaf->entries[i];
    Cell* cell = CellOf(entry);
    const uint64_t chunk = leaf->first_chunk + i;
    const bool whole =
        cell != nullptr ? ClaimCell(cell, chunk) : ClaimEntry(&entry, chunk);
    if (!whole) lost |= uint64_t{1} << i;
  }
  if (lost != 0) damage_->emplace(leaf, lost);
  return lost == 0;
}

bool Recovery::ClaimCell(Cell* cell,
                         uint64_t chunk) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (!arena_.Contains(cell, sizeof(Cell)) || cell->chunk != chunk) {
    return false;
  }
  switch (arena_.ClaimObject(cell, sizeof(Cell))) {
    case Claim::kInvalid:
      return false;
    case Claim::kAgain:
      if (!claimed_.contains(cell)) return false;
      cell->count.Ref();
      return !damaged_cells_.contains(cell);
    case Claim::kFirst:
      break;
  }
  claimed_.insert(cell);
  Renew(cell->count);
  Renew(cell->mu);
  Renew(cell->layer);
  const bool whole = cell->entry != 0 && CellOf(cell->entry) == nullptr &&
                     ClaimEntry(&cell->entry, chunk);
  if (!whole) damaged_cells_.insert(cell);
  return whole;
}

bool Recovery::ClaimEntry(ChunkEntry* entry, uint64_t chunk) {
  if (*entry == 0) return true;
  if (Frame* frame = WholeFrame(*entry)) return ClaimFrame(frame, kAllBlocks);
  if (!ClaimPacked(arena_, entry, chunk)) return false;
  if (*entry == 0) return true;
  const ChunkMap map = ChunkMap::Unpack(*entry);
  claimed_.insert(reinterpret_cast<const void*>(*entry & ~ChunkEntry{3}));
  if (map.node != nullptr) claimed_.insert(map.node);
  return ClaimMap(map);
}

bool Recovery::ClaimMap(const ChunkMap& map) {
  bool whole = true;
  map.ForEachFrame(
      [&](Frame* frame, BlockMask live) { whole &= ClaimFrame(frame, live); });
  for (const Slot& slot : map.cold) {
    if (slot.kind == SlotKind::kPage) whole &= ClaimPage(slot.page());
  }
  if (map.hot == nullptr) return whole;
  for (const int block : Bits(map.hot->present)) {
    whole &= ClaimPage(map.hot->pages[block]);
  }
  return whole;
}

bool Recovery::ClaimFrame(Frame* frame, BlockMask live) {
  if (!arena_.Contains(frame, sizeof(Frame)) ||
      (frame->outside() && !may_be_outside_) || frame->blocks == 0 ||
      (live & ~frame->blocks) != 0) {
    return false;
  }
  const size_t bytes = frame->object_bytes();
  if (bytes > kMaxObjectBytes || !arena_.Contains(frame, bytes)) return false;
  switch (arena_.ClaimObject(frame, bytes)) {
    case Claim::kInvalid:
      return false;
    case Claim::kAgain:
      if (claimed_.contains(frame)) return false;
      RefFrame(frame);
      if (!frame->common.exchange(true, std::memory_order_relaxed)) {
        arena_.AddCommon(static_cast<int64_t>(frame->ChargedBytes()));
      }
      return true;
    case Claim::kFirst:
      break;
  }
  frame->refs.store(1, std::memory_order_relaxed);
  frame->common.store(false, std::memory_order_relaxed);
  if (frame->outside()) {
    arena_.AddOutside(1);
    outside_.images.insert(frame->checksum);
    outside_.room_bytes += frame->room * Frame::kRoomUnit;
  }
  bool whole = true;
  for (size_t i = 0; i < frame->page_count(); ++i) {
    whole &= arena_.ClaimPage(frame->pages()[i]) == Claim::kFirst;
  }
  return whole;
}

bool Recovery::ClaimPage(PageId page) {
  const Claim claim = arena_.ClaimPage(page);
  if (claim == Claim::kAgain) arena_.MarkCommon(page);
  return claim != Claim::kInvalid;
}

// ---- Adopting -------------------------------------------------------------

bool Recovery::Adopt(const Tree& tree, const std::shared_ptr<Layer>& own,
                     const std::shared_ptr<Layer>& shared) {
  if (tree.root == nullptr) return false;
  own_ = own;
  shared_ = shared;
  return AdoptNode(tree.root, /*own_above=*/true);
}

bool Recovery::AdoptNode(Node* node, bool own_above) {
  const bool own = own_above && !node->count.shared();
  if (!own && !adopted_.insert(node).second) return true;
  node->layer = own ? own_ : shared_;
  if (node->level == 0) return AdoptLeaf(static_cast<Leaf*>(node), own);
  node->layer->account.AdoptCharge(Arena::AllocatedBytes(sizeof(Inner)));
  bool shares = !own;
  ForEachFollowed(static_cast<Inner*>(node), *damage_,
                  [&](Node* child) { shares |= AdoptNode(child, own); });
  return shares;
}

bool Recovery::AdoptLeaf(Leaf* leaf, bool own) {
  SmallMutexLock lock(&leaf->mu);
  Layer& layer = *leaf->layer;
  leaf->present = leaf->cells = leaf->copied = 0;
  leaf->census = {};
  leaf->unsettled.store(true, std::memory_order_relaxed);
  bool shares = !own;
  layer.account.AdoptCharge(Arena::AllocatedBytes(sizeof(Leaf)));
  const uint64_t lost = LostOf(leaf, *damage_);
  const bool any_common = arena_.common_bytes() != 0;
  for (int i = 0; i < kFanout; ++i) {
    const ChunkEntry entry = leaf->entries[i];
    if (entry == 0 || (lost >> i & 1) != 0) continue;
    const uint64_t bit = uint64_t{1} << i;
    leaf->present |= bit;
    Cell* cell = CellOf(entry);
    if (cell == nullptr) {
      if (any_common && HoldsCommon(arena_, entry)) leaf->copied |= bit;
      leaf->census += TakeCensus(entry);
      layer.account.AdoptCharge(ChargedBytes(arena_, entry));
      AdoptHot(entry, HomePointer::Of(leaf), layer);
      continue;
    }
    leaf->cells |= bit;
    shares = true;
    if (!adopted_.insert(cell).second) continue;
    SmallMutexLock cell_lock(&cell->mu);
    cell->layer = own && !cell->count.shared() ? own_ : shared_;
    cell->layer->account.AdoptCharge(Arena::AllocatedBytes(sizeof(Cell)) +
                                     ChargedBytes(arena_, cell->entry));
    AdoptHot(cell->entry, HomePointer::Of(cell), *cell->layer);
  }
  return shares || leaf->copied != 0;
}

void ForgetLayers(const Tree& tree,
                  const Damage& damage) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  Node* node = tree.root;
  if (node == nullptr ||
      node->walked.exchange(kForgotten, std::memory_order_relaxed) ==
          kForgotten) {
    return;
  }
  node->layer = nullptr;
  if (node->level > 0) {
    ForEachFollowed(static_cast<Inner*>(node), damage, [&](Node* child) {
      ForgetLayers({child, child->level}, damage);
    });
    return;
  }
  const auto* leaf = static_cast<Leaf*>(node);
  for (const int i : Bits(leaf->cells))
    CellOf(leaf->entries[i])->layer = nullptr;
}

void CutDamage(const Tree& tree, const Damage& damage) {
  if (tree.root == nullptr || tree.level == 0) return;
  const auto found = damage.find(tree.root);
  if (found == damage.end()) return;
  auto* inner = static_cast<Inner*>(tree.root);
  for (const int i : Bits(found->second)) {
    Publish<Node*>(inner->children[i], nullptr);
  }
  ForEachFollowed(inner, damage, [&](Node* child) {
    CutDamage({child, child->level}, damage);
  });
}

void Recovery::AdoptHot(ChunkEntry entry, HomePointer home, Layer& layer) {
  HotNode* node = ChunkMap::Unpack(entry).node;
  if (node == nullptr) return;
  node->home.store(home.bits, std::memory_order_relaxed);
  layer.hot_nodes.Add(node);
  hot_.Link(node);
  hot_.AddBlocks(std::popcount(node->present), std::popcount(node->dirty));
}

}  // namespace ramvol::engine
