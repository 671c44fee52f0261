#include "server/engine/content/frame.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "server/engine/content/codec.h"

namespace ramvol::engine {
namespace {

// Allocates a frame and its pages, without filling them.
Frame* AllocateFrame(Account& account, Priority priority, uint16_t stored) {
  Frame shape{};
  shape.stored = stored;
  void* memory = account.New(shape.object_bytes(), priority);
  if (memory == nullptr) return nullptr;
  Frame* frame = new (memory) Frame{};
  frame->stored = stored;
  for (size_t i = 0; i < frame->page_count(); ++i) {
    frame->pages()[i] = account.NewPage(priority);
    if (frame->pages()[i] != 0) continue;
    while (i > 0) account.FreePage(frame->pages()[--i]);
    account.Delete(memory, shape.object_bytes());
    return nullptr;
  }
  return frame;
}

char* MutableTail(Frame* frame) { return const_cast<char*>(frame->tail()); }

}  // namespace

int Frame::SpanLog2() const {
  const int first = std::countr_zero(blocks);
  const int last = std::bit_width(blocks) - 1;
  return std::bit_width(static_cast<unsigned>(first ^ last));
}

int Frame::Touch() {
  const uint8_t before = heat.load(std::memory_order_relaxed);
  const int count = std::min((before & ~kYoung) + 1, 127);
  // Not a compare-and-swap: heat is a hint, so a lost touch does not matter.
  heat.store(static_cast<uint8_t>(count) | kYoung, std::memory_order_relaxed);
  return count;
}

Frame* NewFrame(Account& account, Priority priority, BlockMask blocks,
                uint32_t checksum, absl::Span<const char> compressed) {
  Frame* frame = AllocateFrame(account, priority,
                               static_cast<uint16_t>(compressed.size()));
  if (frame == nullptr) return nullptr;
  if (frame->outside()) account.arena().AddOutside(1);
  frame->refs.store(1, std::memory_order_relaxed);
  frame->checksum = checksum;
  frame->blocks = blocks;
  frame->heat.store(Frame::kYoung, std::memory_order_relaxed);
  const char* from = compressed.data();
  for (size_t i = 0; i < frame->page_count(); ++i, from += kPageBytes) {
    std::memcpy(account.arena().PageData(frame->pages()[i]), from, kPageBytes);
  }
  const size_t tail_bytes = frame->stored % kPageBytes;
  // A frame without content comes from nowhere.
  if (tail_bytes != 0) std::memcpy(MutableTail(frame), from, tail_bytes);
  return frame;
}

Frame* CopyFrame(Account& account, Priority priority, const Frame& frame) {
  char compressed[kChunkBytes];
  CopyStored(account.arena(), frame, compressed);
  Frame* copy = NewFrame(account, priority, frame.blocks, frame.checksum,
                         {compressed, frame.stored});
  if (copy == nullptr) return nullptr;
  copy->heat.store(frame.heat.load(std::memory_order_relaxed),
                   std::memory_order_relaxed);
  copy->merged.store(frame.merged.load(std::memory_order_relaxed),
                     std::memory_order_relaxed);
  return copy;
}

void UnrefFrame(Arena& arena, Frame* frame) {
  if (frame->refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (frame->outside()) arena.AddOutside(-1);
  if (frame->common.load(std::memory_order_relaxed)) {
    arena.AddCommon(-static_cast<int64_t>(frame->ChargedBytes()));
  }
  for (size_t i = 0; i < frame->page_count(); ++i) {
    arena.UnrefPage(frame->pages()[i]);
  }
  arena.Free(frame, frame->object_bytes());
}

void ReleaseFrame(Account& account, Frame* frame) {
  const bool common = frame->common.load(std::memory_order_relaxed);
  const size_t charged = common ? 0 : frame->ChargedBytes();
  UnrefFrame(account.arena(), frame);
  if (charged > 0) account.Uncharge(charged);
}

void MakeCommon(Account& account, Frame* frame) {
  if (frame->common.exchange(true, std::memory_order_relaxed)) return;
  account.arena().AddCommon(static_cast<int64_t>(frame->ChargedBytes()));
  account.Uncharge(frame->ChargedBytes());
}

void CopyStored(const Arena& arena, const Frame& frame, char* out) {
  for (size_t i = 0; i < frame.page_count(); ++i) {
    std::memcpy(out + i * kPageBytes, arena.PageData(frame.pages()[i]),
                kPageBytes);
  }
  std::memcpy(out + frame.page_count() * kPageBytes, frame.tail(),
              frame.stored % kPageBytes);
}

bool ReadFrame(const Arena& arena, const Frame& frame, absl::Span<char> out) {
  // zstd wants its input in one piece. A frame without full pages already is.
  char gathered[kChunkBytes];
  const char* compressed = frame.tail();
  if (frame.page_count() > 0) {
    CopyStored(arena, frame, gathered);
    compressed = gathered;
  }
  return codec::Decompress({compressed, frame.stored}, out) &&
         codec::Checksum(out) == frame.checksum;
}

}  // namespace ramvol::engine
