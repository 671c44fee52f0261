// What of a queue was taken and not answered, in memory that outlives this
// process.
#ifndef RAMVOL_VHOST_USER_INFLIGHT_H_
#define RAMVOL_VHOST_USER_INFLIGHT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ramvol::vhost {

// One queue's region of the in-flight memory of a device, as vhost-user's
// "Inflight I/O tracking" has it for split rings. The front-end keeps the
// memory and gives it to the next back-end, which may be another program, so
// all that is read from it is checked.
//
// A default one tracks nothing. Thread-compatible.
class Inflight {
 public:
  // The size of one queue's region.
  static size_t BytesFor(uint16_t queue_size);

  Inflight() = default;
  // Borrows a region of BytesFor(queue_size) bytes.
  Inflight(char* region, uint16_t queue_size);

  bool tracks() const { return header_ != nullptr; }
  uint16_t size() const { return queue_size_; }

  // Makes a new region ready for use, or goes on with one that an earlier
  // back-end left when `used_index`, the used ring's, was reached. Returns the
  // heads that were not answered, in the order in which they were taken.
  // Ignores what is not plausible.
  std::vector<uint16_t> Recover(uint16_t used_index);

  // `head` was taken from the available ring.
  void Took(uint16_t head);
  // `head` is about to be put into the used ring.
  void WillAnswer(uint16_t head);
  // The used ring's index, which includes it, is now `used_index`.
  void Answered(uint16_t head, uint16_t used_index);

 private:
  struct Entry {
    uint8_t inflight;
    uint8_t padding[5];
    uint16_t next;     // Of the last batch.
    uint64_t counter;  // The order of taking.
  };
  struct Header {
    uint64_t features;
    uint16_t version;
    uint16_t entries;
    uint16_t last_batch_head;
    uint16_t used_index;
  };
  static constexpr uint16_t kVersion = 1;
  static constexpr size_t kAlignment = 64;

  void Initialize(uint16_t used_index);

  Header* header_ = nullptr;
  Entry* entries_ = nullptr;
  uint16_t queue_size_ = 0;
  uint64_t counter_ = 0;
};

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_INFLIGHT_H_
