// Lists of units by how full they are.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_UNITS_BY_FULLNESS_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_UNITS_BY_FULLNESS_H_

#include <array>
#include <bit>
#include <cstdint>

#include "server/engine/memory/memory_types.h"
#include "server/engine/memory/unit_table.h"

namespace ramvol::engine {

// A set of units in kLevels levels of fullness. All operations take constant
// time.
//
// Allocating in the fullest unit lets sparse ones drain until they can be
// released. The fullest stays the same one while it fills up, until it leaves
// the set.
//
// Not thread-safe: the mutex of its units' owner guards it. Borrows `table`.
class UnitsByFullness {
 public:
  static constexpr int kLevels = 8;

  // The set uses Unit::links[link]: a unit can be in one set for each link.
  UnitsByFullness(int link, UnitTable* table) : link_(link), table_(*table) {}

  UnitsByFullness(const UnitsByFullness&) = delete;
  UnitsByFullness& operator=(const UnitsByFullness&) = delete;

  // Puts the unit into the level of `part` / `whole`, which must be less than
  // 1, and takes it out of another level.
  void Put(UnitId id, uint64_t part, uint64_t whole);
  // Takes the unit out, if it is in the set.
  void Remove(UnitId id);

  // 0 when there are none.
  UnitId Fullest() const {
    return filled_ == 0 ? 0 : heads_[std::bit_width(filled_) - 1];
  }
  UnitId Emptiest() const {
    return filled_ == 0 ? 0 : heads_[std::countr_zero(filled_)];
  }

 private:
  Unit::Link& link(UnitId id) { return table_.unit(id).links[link_]; }
  void SetHead(int level, UnitId id);

  const int link_;
  UnitTable& table_;
  std::array<UnitId, kLevels> heads_ = {};
  uint32_t filled_ = 0;  // Bit n: level n is not empty.
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_UNITS_BY_FULLNESS_H_
