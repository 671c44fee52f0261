// Lists of units, by how full they are.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_UNITS_BY_FULLNESS_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_UNITS_BY_FULLNESS_H_

#include <array>
#include <bit>
#include <cstdint>

#include "server/engine/memory/unit_table.h"

namespace ramvol::engine {

// A set of units in kLevels levels of fullness. Everything takes constant time.
//
// Allocating from the fullest unit lets the sparse ones drain, so that they can
// be given back. The fullest stays the same one, as it is added to and others
// are taken from, until it leaves the set.
//
// Not thread-safe: guarded by its owner's mutex, as the units in it are.
// Borrows `table`.
class UnitsByFullness {
 public:
  static constexpr int kLevels = 8;

  // The set uses Unit::links[link]: a unit can be in one set for each link.
  UnitsByFullness(int link, UnitTable* table) : link_(link), table_(*table) {}

  UnitsByFullness(const UnitsByFullness&) = delete;
  UnitsByFullness& operator=(const UnitsByFullness&) = delete;

  // Puts the unit into the level of `part` of `whole`, from whichever it is in.
  // `part` is less than `whole`.
  void Put(UnitId id, uint64_t part, uint64_t whole);
  // Takes the unit out, if it is in.
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
