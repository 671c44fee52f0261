// The messages of the vhost-user protocol, as bytes and structs. QEMU's
// docs/interop/vhost-user describes them. No I/O.
#ifndef RAMVOL_VHOST_USER_PROTOCOL_MESSAGE_H_
#define RAMVOL_VHOST_USER_PROTOCOL_MESSAGE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/statusor.h"
#include "vhost_user/protocol/descriptor.h"

namespace ramvol::vhost {

// What a front-end asks for.
enum class Request : uint32_t {
  kGetFeatures = 1,
  kSetFeatures = 2,
  kSetOwner = 3,
  kResetOwner = 4,
  kSetMemTable = 5,
  kSetLogBase = 6,
  kSetLogFd = 7,
  kSetVringNum = 8,
  kSetVringAddr = 9,
  kSetVringBase = 10,
  kGetVringBase = 11,
  kSetVringKick = 12,
  kSetVringCall = 13,
  kSetVringErr = 14,
  kGetProtocolFeatures = 15,
  kSetProtocolFeatures = 16,
  kGetQueueNum = 17,
  kSetVringEnable = 18,
  kSetBackendReqFd = 21,
  kGetConfig = 24,
  kSetConfig = 25,
  kGetInflightFd = 31,
  kSetInflightFd = 32,
  kResetDevice = 34,
  kGetMaxMemSlots = 36,
  kAddMemReg = 37,
  kRemMemReg = 38,
  kSetStatus = 39,
  kGetStatus = 40,
};

// What the back-end tells the front-end, on a channel of its own.
inline constexpr uint32_t kConfigChange = 2;

// Feature bits of vhost-user among those of virtio.
inline constexpr int kFeatureLogAll = 26;
inline constexpr int kFeatureProtocolFeatures = 30;

enum class ProtocolFeature {
  kMq = 0,
  kLogShmFd = 1,
  kReplyAck = 3,
  kBackendReq = 5,
  kConfig = 9,
  kInflightShmFd = 12,
  kResetDevice = 13,
  kConfigureMemSlots = 15,
  kStatus = 16,
};

constexpr uint64_t Bit(int bit) { return uint64_t{1} << bit; }
constexpr uint64_t Bit(ProtocolFeature feature) {
  return Bit(static_cast<int>(feature));
}

// All numbers are in the machine's byte order.
struct Header {
  uint32_t request;
  uint32_t flags;
  uint32_t payload_bytes;
};
inline constexpr uint32_t kVersionMask = 3;
inline constexpr uint32_t kVersion = 1;
inline constexpr uint32_t kFlagReply = 1 << 2;
inline constexpr uint32_t kFlagNeedReply = 1 << 3;

// The longest payload is that of GET_CONFIG.
inline constexpr size_t kMaxPayloadBytes = 512;
// Of SET_MEM_TABLE.
inline constexpr size_t kMaxTableRegions = 8;
// Most descriptors that come with a message.
inline constexpr size_t kMaxDescriptors = kMaxTableRegions;
inline constexpr size_t kConfigSpaceBytes = 256;

struct VringState {
  uint32_t index;
  uint32_t number;
};

struct VringAddress {
  uint32_t index;
  uint32_t flags;  // kVringLog.
  uint64_t descriptors;
  uint64_t used;
  uint64_t available;
  uint64_t log;
};
inline constexpr uint32_t kVringLog = 1;

// Of SET_VRING_KICK, _CALL and _ERR.
inline constexpr uint64_t kVringIndexMask = 0xff;
inline constexpr uint64_t kVringNoDescriptor = 1 << 8;

struct MemoryRegion {
  uint64_t guest_address;
  uint64_t bytes;
  uint64_t user_address;
  uint64_t offset;  // In its file.
};

struct OneRegion {
  uint64_t padding;
  MemoryRegion region;
};

struct LogArea {
  uint64_t bytes;
  uint64_t offset;
};

struct ConfigHeader {
  uint32_t offset;
  uint32_t bytes;
  uint32_t flags;
};
// The front-end restores a device after a migration.
inline constexpr uint32_t kConfigOfMigration = 1;

struct InflightArea {
  uint64_t bytes;
  uint64_t offset;
  uint16_t queues;
  uint16_t queue_size;
  uint32_t padding;
};

struct Message {
  Request request = Request::kGetFeatures;
  uint32_t flags = 0;
  std::string payload;
  std::vector<Descriptor> descriptors;

  bool needs_reply() const { return (flags & kFlagNeedReply) != 0; }
};

// INVALID_ARGUMENT for another version, a reply, or a payload of more than
// kMaxPayloadBytes.
absl::Status CheckHeader(const Header& header);

// The payload as a struct. INVALID_ARGUMENT when it has another size.
template <typename T>
absl::StatusOr<T> Parse(const Message& message);

// INVALID_ARGUMENT when the regions and their number do not fit together, or
// are more than kMaxTableRegions.
absl::StatusOr<std::vector<MemoryRegion>> ParseMemoryTable(
    const Message& message);

// The bytes of a struct, for a payload.
template <typename T>
std::string Bytes(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

// The answer to `message`, without descriptors.
Message Reply(const Message& message, std::string payload);

// For the log: "SET_VRING_NUM".
std::string NameOf(Request request);

absl::Status WrongPayload(const Message& message, size_t wanted);

template <typename T>
absl::StatusOr<T> Parse(const Message& message) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (message.payload.size() != sizeof(T)) {
    return WrongPayload(message, sizeof(T));
  }
  T value;
  std::memcpy(&value, message.payload.data(), sizeof(T));
  return value;
}

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_PROTOCOL_MESSAGE_H_
