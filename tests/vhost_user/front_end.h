// A vhost-user front-end with a driver of virtio-blk, for tests and benchmarks.
#ifndef RAMVOL_TESTS_VHOST_USER_FRONT_END_H_
#define RAMVOL_TESTS_VHOST_USER_FRONT_END_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vhost_user/protocol/descriptor.h"
#include "vhost_user/protocol/message.h"
#include "vhost_user/protocol/split_ring.h"

namespace ramvol::testing {

// Memory of a pretended guest: a memfd, mapped here. Guest addresses begin at
// kGuestBase, the front-end's at the mapping.
class TestMemory {
 public:
  static constexpr uint64_t kGuestBase = 0x100000;

  explicit TestMemory(size_t bytes);
  ~TestMemory();

  TestMemory(const TestMemory&) = delete;
  TestMemory& operator=(const TestMemory&) = delete;

  int fd() const { return fd_.get(); }
  char* data() const { return data_; }
  size_t size() const { return bytes_; }
  // A part that nobody else has, aligned to 4096 bytes.
  char* Take(size_t bytes);
  uint64_t GuestAddress(const void* place) const {
    return kGuestBase +
           static_cast<uint64_t>(static_cast<const char*>(place) - data_);
  }
  vhost::MemoryRegion region() const {
    return {kGuestBase, bytes_, reinterpret_cast<uint64_t>(data_), 0};
  }

 private:
  const vhost::Descriptor fd_;
  const size_t bytes_;
  char* const data_;
  size_t taken_ = 0;
};

// The driver's side of a split ring.
class TestRing {
 public:
  TestRing(TestMemory* memory, uint16_t size, bool event_index);

  struct Buffer {
    const void* data;
    uint32_t bytes;
    bool writable;
  };

  // Makes a chain available; returns its head. With `indirect`, its descriptors
  // are in a table of their own. There must be room.
  uint16_t Add(const std::vector<Buffer>& chain, bool indirect = false);
  // Whether the device wants a kick for what was added since the last call.
  bool MustKick();
  // The next answer: head and length.
  std::optional<std::pair<uint16_t, uint32_t>> TakeUsed();
  // Asks to be told of the next answer. False when there is one already.
  bool AskToBeTold();

  uint16_t size() const { return size_; }
  vhost::VringAddress Address(uint32_t index) const;
  int kick() const { return kick_.get(); }
  int call() const { return call_.get(); }
  uint16_t used_index() const;
  // For tests that break rules.
  vring_desc* descriptors() const { return descriptors_; }
  vring_avail* available() const { return available_; }
  vring_used* used() const { return used_; }

 private:
  TestMemory& memory_;
  const uint16_t size_;
  const bool event_index_;
  vring_desc* descriptors_;
  vring_avail* available_;
  vring_used* used_;
  vring_desc* tables_;  // kTableEntries for each head.
  std::vector<uint16_t> free_;
  std::vector<std::vector<uint16_t>> chains_;  // By head.
  uint16_t kicked_ = 0;
  uint16_t next_used_ = 0;
  const vhost::Descriptor kick_;
  const vhost::Descriptor call_;
};

// A connection to a back-end.
class FrontEnd {
 public:
  // Takes the ownership of a connected socket.
  explicit FrontEnd(int socket) : socket_(socket) {}
  // -1 when nobody listens.
  static int Connect(const std::string& path);

  bool Send(vhost::Request request, std::string payload,
            const std::vector<int>& descriptors = {}, uint32_t flags = 0);
  // nullopt when the back-end has ended the connection.
  std::optional<vhost::Message> Receive();
  // Sends, and returns what is answered.
  std::optional<vhost::Message> Ask(vhost::Request request,
                                    std::string payload = "",
                                    const std::vector<int>& descriptors = {});
  // Sends, asks for an acknowledgement, and returns whether it says success.
  bool Tell(vhost::Request request, std::string payload,
            const std::vector<int>& descriptors = {});
  bool TellNumber(vhost::Request request, uint64_t number,
                  const std::vector<int>& descriptors = {}) {
    return Tell(request, vhost::Bytes(number), descriptors);
  }
  uint64_t AskNumber(vhost::Request request);

  // Takes the features that are offered, but for `without`, and REPLY_ACK.
  bool Negotiate(uint64_t without = 0);
  uint64_t features() const { return features_; }
  bool ShareMemory(const TestMemory& memory);
  // Sets all of a ring up, and enables it.
  bool StartRing(uint32_t index, const TestRing& ring, uint16_t base = 0);
  // Returns the base.
  std::optional<uint16_t> StopRing(uint32_t index);

  void Close() { socket_.Reset(); }
  int socket() const { return socket_.get(); }

 private:
  vhost::Descriptor socket_;
  uint64_t features_ = 0;
};

// Requests of virtio-blk over one ring, each with a slot of memory of its own.
class TestDisk {
 public:
  // `depth` slots of `slot_bytes` bytes of data.
  TestDisk(TestMemory* memory, TestRing* ring, int depth, size_t slot_bytes);

  char* data(int slot) { return slots_[slot].data; }
  uint8_t status(int slot) const {
    return *static_cast<const volatile uint8_t*>(slots_[slot].status);
  }
  // Makes a request available, in `segments` parts of data. Kicks if it must
  // and `kick`.
  void Start(int slot, uint32_t type, uint64_t sector, uint32_t bytes,
             bool indirect = false, int segments = 1, bool kick = true);
  void Kick();
  // Waits for the next answer, and returns its slot; -1 after ten seconds.
  int Wait();
  // An answer that is there already; -1 when there is none.
  int Poll();
  // One request by itself: its status, or -1.
  int Do(uint32_t type, uint64_t sector, uint32_t bytes, bool indirect = false,
         int segments = 1);

 private:
  struct Slot {
    char* header;
    char* data;
    uint8_t* status;
  };
  TestRing& ring_;
  std::vector<Slot> slots_;
  std::vector<int> by_head_;
};

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_VHOST_USER_FRONT_END_H_
