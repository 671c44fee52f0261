// Memory of a client, mapped into this process.
#ifndef RAMVOL_VHOST_USER_SHARED_MAPPING_H_
#define RAMVOL_VHOST_USER_SHARED_MAPPING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

namespace ramvol::vhost {

// Set once when a client took away memory that it had shared. Thread-safe.
using BrokenFlag = std::atomic<bool>;

// A part of a file, mapped for reading and writing.
//
// The client may shorten the file at any time. Whoever then touches the memory
// gets SIGBUS; a handler, which the first mapping installs, puts zeroes in the
// place of the whole mapping and sets the flag, so that only this client's
// device ends. The handler passes on all other signals.
//
// The memory is shared with the client, which may change it at any time.
class SharedMapping {
 public:
  // Maps `bytes` bytes from `offset` on. Borrows `fd` for the call, and
  // `broken` for its own life. INVALID_ARGUMENT when the range is empty or not
  // within the file, or when the file is none of a memory file system: what is
  // on disks or elsewhere could make readers wait for ever.
  // RESOURCE_EXHAUSTED when there are too many mappings.
  static absl::StatusOr<std::unique_ptr<SharedMapping>> Map(int fd,
                                                            uint64_t offset,
                                                            uint64_t bytes,
                                                            BrokenFlag* broken);
  ~SharedMapping();

  SharedMapping(const SharedMapping&) = delete;
  SharedMapping& operator=(const SharedMapping&) = delete;

  char* data() const { return data_; }
  size_t size() const { return bytes_; }

 private:
  SharedMapping(char* base, size_t mapped_bytes, char* data, size_t bytes)
      : base_(base), mapped_bytes_(mapped_bytes), data_(data), bytes_(bytes) {}

  char* const base_;
  const size_t mapped_bytes_;
  char* const data_;
  const size_t bytes_;
  int watched_ = -1;  // Its place in the handler's table.
};

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_SHARED_MAPPING_H_
