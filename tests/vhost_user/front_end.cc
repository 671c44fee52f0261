#include "tests/vhost_user/front_end.h"

#include <linux/virtio_blk.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "vhost_user/channel.h"

namespace ramvol::testing {
namespace {

constexpr size_t kPageBytes = 4096;
// Of an indirect table.
constexpr size_t kTableEntries = 64;
constexpr absl::Duration kPatience = absl::Minutes(2);

int MakeMemory(size_t bytes) {
  const int fd = memfd_create("guest", MFD_CLOEXEC);
  RAMVOL_CHECK(fd >= 0 && ftruncate(fd, static_cast<off_t>(bytes)) == 0);
  return fd;
}

char* MapMemory(int fd, size_t bytes) {
  void* const data =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  RAMVOL_CHECK(data != MAP_FAILED);
  return static_cast<char*>(data);
}

}  // namespace

TestMemory::TestMemory(size_t bytes)
    : fd_(MakeMemory(bytes)),
      bytes_(bytes),
      data_(MapMemory(fd_.get(), bytes)) {}

TestMemory::~TestMemory() { munmap(data_, bytes_); }

char* TestMemory::Take(size_t bytes) {
  const size_t whole = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  RAMVOL_CHECK(whole <= bytes_ - taken_);
  char* const place = data_ + taken_;
  taken_ += whole;
  return place;
}

TestRing::TestRing(TestMemory* memory, uint16_t size, bool event_index)
    : memory_(*memory),
      size_(size),
      event_index_(event_index),
      descriptors_(reinterpret_cast<vring_desc*>(
          memory->Take(size * sizeof(vring_desc)))),
      available_(reinterpret_cast<vring_avail*>(memory->Take(6 + 2 * size))),
      used_(reinterpret_cast<vring_used*>(memory->Take(6 + 8 * size))),
      tables_(reinterpret_cast<vring_desc*>(
          memory->Take(size * kTableEntries * sizeof(vring_desc)))),
      chains_(size),
      kick_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      call_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  for (uint16_t i = size; i > 0; --i) free_.push_back(i - 1);
}

uint16_t TestRing::Add(const std::vector<Buffer>& chain, bool indirect) {
  std::vector<uint16_t> taken;
  const size_t wanted = indirect ? 1 : chain.size();
  RAMVOL_CHECK(wanted <= free_.size() && chain.size() <= kTableEntries);
  for (size_t i = 0; i < wanted; ++i) {
    taken.push_back(free_.back());
    free_.pop_back();
  }
  const uint16_t head = taken[0];
  vring_desc* const table = tables_ + head * kTableEntries;
  for (size_t i = 0; i < chain.size(); ++i) {
    vring_desc& descriptor = indirect ? table[i] : descriptors_[taken[i]];
    const bool last = i + 1 == chain.size();
    descriptor.addr = memory_.GuestAddress(chain[i].data);
    descriptor.len = chain[i].bytes;
    descriptor.flags =
        static_cast<uint16_t>((chain[i].writable ? VRING_DESC_F_WRITE : 0) |
                              (last ? 0 : VRING_DESC_F_NEXT));
    descriptor.next = last       ? 0
                      : indirect ? static_cast<uint16_t>(i + 1)
                                 : taken[i + 1];
  }
  if (indirect) {
    descriptors_[head] = {
        memory_.GuestAddress(table),
        static_cast<uint32_t>(chain.size() * sizeof(vring_desc)),
        VRING_DESC_F_INDIRECT, 0};
  }
  const uint16_t index = available_->idx;
  available_->ring[index % size_] = head;
  __atomic_store_n(&available_->idx, static_cast<uint16_t>(index + 1),
                   __ATOMIC_RELEASE);
  chains_[head] = std::move(taken);
  return head;
}

bool TestRing::MustKick() {
  vhost::FullBarrier();
  const uint16_t now = available_->idx;
  const uint16_t before = std::exchange(kicked_, now);
  if (!event_index_) {
    return (__atomic_load_n(&used_->flags, __ATOMIC_RELAXED) &
            VRING_USED_F_NO_NOTIFY) == 0;
  }
  const uint16_t event = __atomic_load_n(
      reinterpret_cast<uint16_t*>(used_->ring + size_), __ATOMIC_RELAXED);
  return static_cast<uint16_t>(now - event - 1) <
         static_cast<uint16_t>(now - before);
}

uint16_t TestRing::used_index() const {
  return __atomic_load_n(&used_->idx, __ATOMIC_ACQUIRE);
}

std::optional<std::pair<uint16_t, uint32_t>> TestRing::TakeUsed() {
  if (used_index() == next_used_) return std::nullopt;
  const vring_used_elem& element = used_->ring[next_used_ % size_];
  const auto head = static_cast<uint16_t>(element.id);
  const uint32_t length = element.len;
  ++next_used_;
  for (const uint16_t descriptor : chains_[head]) free_.push_back(descriptor);
  chains_[head].clear();
  return std::make_pair(head, length);
}

bool TestRing::AskToBeTold() {
  if (event_index_) {
    __atomic_store_n(available_->ring + size_, next_used_, __ATOMIC_RELAXED);
  }
  vhost::FullBarrier();
  return used_index() == next_used_;
}

vhost::VringAddress TestRing::Address(uint32_t index) const {
  return {index,
          0,
          reinterpret_cast<uint64_t>(descriptors_),
          reinterpret_cast<uint64_t>(used_),
          reinterpret_cast<uint64_t>(available_),
          0};
}

int FrontEnd::Connect(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  RAMVOL_CHECK(path.size() < sizeof(address.sun_path));
  std::memcpy(address.sun_path, path.data(), path.size());
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) ==
      0) {
    return fd;
  }
  close(fd);
  return -1;
}

bool FrontEnd::Send(vhost::Request request, std::string payload,
                    const std::vector<int>& descriptors, uint32_t flags) {
  const vhost::Header header = {static_cast<uint32_t>(request),
                                vhost::kVersion | flags,
                                static_cast<uint32_t>(payload.size())};
  std::string bytes = vhost::Bytes(header) + payload;
  iovec part = {bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 16)] = {};
  if (!descriptors.empty()) {
    const size_t fds = descriptors.size() * sizeof(int);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds);
    cmsghdr* const rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds);
    std::memcpy(CMSG_DATA(rights), descriptors.data(), fds);
  }
  return sendmsg(socket_.get(), &message, MSG_NOSIGNAL) ==
         static_cast<ssize_t>(bytes.size());
}

std::optional<vhost::Message> FrontEnd::Receive() {
  // Back-ends' replies are what vhost::Receive refuses, but for the flag.
  vhost::Message message;
  vhost::Header header;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 8)];
  iovec part = {&header, sizeof(header)};
  msghdr in{};
  in.msg_iov = &part;
  in.msg_iovlen = 1;
  in.msg_control = control;
  in.msg_controllen = sizeof(control);
  if (recvmsg(socket_.get(), &in, MSG_WAITALL | MSG_CMSG_CLOEXEC) !=
      sizeof(header)) {
    return std::nullopt;
  }
  if (const cmsghdr* rights = CMSG_FIRSTHDR(&in); rights != nullptr) {
    int fd;
    std::memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
    message.descriptors.emplace_back(fd);
  }
  message.request = static_cast<vhost::Request>(header.request);
  message.flags = header.flags;
  message.payload.resize(header.payload_bytes);
  if (header.payload_bytes > 0 &&
      recv(socket_.get(), message.payload.data(), message.payload.size(),
           MSG_WAITALL) != static_cast<ssize_t>(message.payload.size())) {
    return std::nullopt;
  }
  return message;
}

std::optional<vhost::Message> FrontEnd::Ask(
    vhost::Request request, std::string payload,
    const std::vector<int>& descriptors) {
  if (!Send(request, std::move(payload), descriptors)) return std::nullopt;
  return Receive();
}

bool FrontEnd::Tell(vhost::Request request, std::string payload,
                    const std::vector<int>& descriptors) {
  if (!Send(request, std::move(payload), descriptors, vhost::kFlagNeedReply)) {
    return false;
  }
  const auto reply = Receive();
  return reply.has_value() && reply->payload == vhost::Bytes(uint64_t{0});
}

uint64_t FrontEnd::AskNumber(vhost::Request request) {
  const auto reply = Ask(request);
  uint64_t number = 0;
  if (reply.has_value() && reply->payload.size() == sizeof(number)) {
    std::memcpy(&number, reply->payload.data(), sizeof(number));
  }
  return number;
}

bool FrontEnd::Negotiate(uint64_t without) {
  features_ = AskNumber(vhost::Request::kGetFeatures) & ~without &
              ~vhost::Bit(vhost::kFeatureLogAll);
  const uint64_t protocol = AskNumber(vhost::Request::kGetProtocolFeatures);
  return Send(vhost::Request::kSetProtocolFeatures, vhost::Bytes(protocol)) &&
         Send(vhost::Request::kSetOwner, "") &&
         TellNumber(vhost::Request::kSetFeatures, features_);
}

bool FrontEnd::ShareMemory(const TestMemory& memory) {
  const uint32_t header[2] = {1, 0};
  return Tell(vhost::Request::kSetMemTable,
              vhost::Bytes(header) + vhost::Bytes(memory.region()),
              {memory.fd()});
}

bool FrontEnd::StartRing(uint32_t index, const TestRing& ring, uint16_t base) {
  using vhost::Request;
  using vhost::VringState;
  return Tell(Request::kSetVringNum,
              vhost::Bytes(VringState{index, ring.size()})) &&
         Tell(Request::kSetVringBase, vhost::Bytes(VringState{index, base})) &&
         Tell(Request::kSetVringAddr, vhost::Bytes(ring.Address(index))) &&
         TellNumber(Request::kSetVringCall, index, {ring.call()}) &&
         TellNumber(Request::kSetVringKick, index, {ring.kick()}) &&
         Tell(Request::kSetVringEnable, vhost::Bytes(VringState{index, 1}));
}

std::optional<uint16_t> FrontEnd::StopRing(uint32_t index) {
  const auto reply = Ask(vhost::Request::kGetVringBase,
                         vhost::Bytes(vhost::VringState{index, 0}));
  vhost::VringState state{};
  if (!reply.has_value() || reply->payload.size() != sizeof(state)) {
    return std::nullopt;
  }
  std::memcpy(&state, reply->payload.data(), sizeof(state));
  return static_cast<uint16_t>(state.number);
}

TestDisk::TestDisk(TestMemory* memory, TestRing* ring, int depth,
                   size_t slot_bytes)
    : ring_(*ring), by_head_(ring->size(), -1) {
  for (int i = 0; i < depth; ++i) {
    char* const header = memory->Take(kPageBytes);
    slots_.push_back({header, memory->Take(slot_bytes),
                      reinterpret_cast<uint8_t*>(header + 64)});
  }
}

void TestDisk::Start(int slot, uint32_t type, uint64_t sector, uint32_t bytes,
                     bool indirect, int segments, bool kick) {
  const Slot& place = slots_[slot];
  const virtio_blk_outhdr header = {type, 0, sector};
  std::memcpy(place.header, &header, sizeof(header));
  *place.status = 0xff;
  const bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
  std::vector<TestRing::Buffer> chain = {{place.header, sizeof(header), false}};
  const uint32_t part = bytes / segments;
  for (int i = 0; i < segments && bytes > 0; ++i) {
    const uint32_t begin = i * part;
    const uint32_t length = i + 1 == segments ? bytes - begin : part;
    chain.push_back({place.data + begin, length, in});
  }
  chain.push_back({place.status, 1, true});
  by_head_[ring_.Add(chain, indirect)] = slot;
  if (kick) Kick();
}

void TestDisk::Kick() {
  if (!ring_.MustKick()) return;
  const uint64_t one = 1;
  RAMVOL_CHECK(write(ring_.kick(), &one, sizeof(one)) == sizeof(one));
}

int TestDisk::Poll() {
  const auto used = ring_.TakeUsed();
  return used.has_value() ? by_head_[used->first] : -1;
}

int TestDisk::Wait() {
  const absl::Time deadline = absl::Now() + kPatience;
  while (absl::Now() < deadline) {
    if (const int slot = Poll(); slot >= 0) return slot;
    if (!ring_.AskToBeTold()) continue;
    pollfd wait{ring_.call(), POLLIN, 0};
    poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(kPatience)));
    uint64_t count;
    [[maybe_unused]] const ssize_t got =
        read(ring_.call(), &count, sizeof(count));
  }
  return -1;
}

int TestDisk::Do(uint32_t type, uint64_t sector, uint32_t bytes, bool indirect,
                 int segments) {
  Start(0, type, sector, bytes, indirect, segments);
  const int slot = Wait();
  return slot < 0 ? -1 : status(slot);
}

}  // namespace ramvol::testing
