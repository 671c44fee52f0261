// Memory from the kernel: anonymous, or of a file that outlives the process.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_MAPPING_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_MAPPING_H_

#include <cstddef>

#include "absl/status/statusor.h"

namespace ramvol::engine {

// A range of memory, zeroed or with what the file holds. The first touch of
// each 4 KiB page makes that page resident, and no other: there are no huge
// pages.
//
// Movable; owns the range. Thread-safe.
class Mapping {
 public:
  // Zeroed. `bytes` is rounded up to whole pages. `alignment` is a power of
  // two, at least 4096 and at most 1 GiB. RESOURCE_EXHAUSTED when the
  // kernel refuses that much address space.
  static absl::StatusOr<Mapping> Create(size_t bytes, size_t alignment);
  // The first `bytes` of a file on a tmpfs, shared, at just this address. All
  // are multiples of 4096. Borrows `fd`, open for reading and writing.
  // ALREADY_EXISTS when something else lies there; RESOURCE_EXHAUSTED as above.
  static absl::StatusOr<Mapping> OfFile(int fd, size_t bytes, char* address);

  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  char* data() const { return data_; }
  size_t size_bytes() const { return bytes_; }
  bool is_file() const { return fd_ >= 0; }

  // Releases the pages of [start, start + bytes) to the kernel, and out of the
  // file; they read as zero from then on. Both arguments are multiples of 4096.
  // False when the kernel refuses; the content is unspecified then.
  bool GiveBack(char* start, size_t bytes) const;
  // Puts the pages of [start, start + bytes), which are holes, into the file,
  // zeroed, and makes them resident; in runs that costs little more than an
  // anonymous page's first touch. False when there is no memory, or no room in
  // the file's file system; any of them may be in the file then. To touch a
  // hole can end the process by SIGBUS; to touch a page after this cannot.
  bool Fill(char* start, size_t bytes) const;

 private:
  Mapping(char* data, size_t bytes, int fd)
      : data_(data), bytes_(bytes), fd_(fd) {}

  char* data_;
  size_t bytes_;
  int fd_;  // -1: anonymous.
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_MAPPING_H_
