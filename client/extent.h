// Runs of bytes in one state.
#ifndef RAMVOL_CLIENT_EXTENT_H_
#define RAMVOL_CLIENT_EXTENT_H_

#include <cstdint>

namespace ramvol {

struct Extent {
  int64_t offset = 0;
  int64_t length = 0;
  bool hole = false;  // Stores nothing and reads as zero.

  friend bool operator==(const Extent&, const Extent&) = default;
};

struct ChangedExtent {
  int64_t offset = 0;
  int64_t length = 0;
  bool changed = false;  // May differ.

  friend bool operator==(const ChangedExtent&, const ChangedExtent&) = default;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_EXTENT_H_
