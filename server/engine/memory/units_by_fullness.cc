#include "server/engine/memory/units_by_fullness.h"

namespace ramvol::engine {

void UnitsByFullness::Put(UnitId id, uint64_t part, uint64_t whole) {
  const int level = static_cast<int>(part * kLevels / whole);
  Unit::Link& self = link(id);
  if (self.list == level + 1) return;
  Remove(id);
  self = {.prev = 0,
          .next = heads_[level],
          .list = static_cast<uint8_t>(level + 1)};
  if (self.next != 0) link(self.next).prev = id;
  SetHead(level, id);
}

void UnitsByFullness::Remove(UnitId id) {
  Unit::Link& self = link(id);
  if (self.list == 0) return;
  if (self.next != 0) link(self.next).prev = self.prev;
  if (self.prev != 0) {
    link(self.prev).next = self.next;
  } else {
    SetHead(self.list - 1, self.next);
  }
  self = {};
}

void UnitsByFullness::SetHead(int level, UnitId id) {
  heads_[level] = id;
  const uint32_t bit = 1 << level;
  filled_ = id != 0 ? filled_ | bit : filled_ & ~bit;
}

}  // namespace ramvol::engine
