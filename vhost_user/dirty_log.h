// Which pages of the guest this server wrote to, while the guest migrates.
#ifndef RAMVOL_VHOST_USER_DIRTY_LOG_H_
#define RAMVOL_VHOST_USER_DIRTY_LOG_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "vhost_user/shared_mapping.h"

namespace ramvol::vhost {

// A bit for each page, in memory of the front-end, which reads and clears it
// meanwhile. Marking is thread-safe.
class DirtyLog {
 public:
  static constexpr uint64_t kPageBytes = 4096;

  explicit DirtyLog(std::unique_ptr<SharedMapping> mapping)
      : mapping_(std::move(mapping)) {}

  // Marks the pages of a range of the guest's addresses, after they were
  // written. What the log does not cover is left out.
  void Mark(uint64_t guest_address, uint64_t bytes) {
    if (bytes == 0 || guest_address + (bytes - 1) < guest_address) return;
    const uint64_t last = (guest_address + (bytes - 1)) / kPageBytes;
    for (uint64_t page = guest_address / kPageBytes; page <= last; ++page) {
      if (page / 8 >= mapping_->size()) return;
      auto* const byte =
          reinterpret_cast<uint8_t*>(mapping_->data() + page / 8);
      __atomic_fetch_or(byte, static_cast<uint8_t>(1U << page % 8),
                        __ATOMIC_SEQ_CST);
    }
  }

 private:
  const std::unique_ptr<SharedMapping> mapping_;
};

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_DIRTY_LOG_H_
