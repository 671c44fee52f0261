// Anonymous memory from the kernel.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_MAPPING_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_MAPPING_H_

#include <cstddef>

#include "absl/status/statusor.h"

namespace ramvol::engine {

// A range of zeroed memory. The first touch of each 4 KiB page makes that page
// resident, and no other: there are no huge pages.
//
// Movable; owns the range. Thread-safe.
class Mapping {
 public:
  // `bytes` is rounded up to whole pages. `alignment` is a power of two, at
  // least 4096 and at most 1 GiB. RESOURCE_EXHAUSTED when the
  // kernel refuses that much address space.
  static absl::StatusOr<Mapping> Create(size_t bytes, size_t alignment);

  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  char* data() const { return data_; }
  size_t size_bytes() const { return bytes_; }

  // Releases the pages of [start, start + bytes) to the kernel; they read as
  // zero from then on. Both arguments are multiples of 4096. False when the
  // kernel refuses; the content is unspecified then.
  bool GiveBack(char* start, size_t bytes) const;

 private:
  Mapping(char* data, size_t bytes) : data_(data), bytes_(bytes) {}

  char* data_;
  size_t bytes_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_MAPPING_H_
