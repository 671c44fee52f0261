#include "vhost_user/protocol/message.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace ramvol::vhost {

absl::Status CheckHeader(const Header& header) {
  if ((header.flags & kVersionMask) != kVersion) {
    return absl::InvalidArgumentError(
        absl::StrCat("a message of version ", header.flags & kVersionMask,
                     "; this server speaks version ", kVersion));
  }
  if ((header.flags & kFlagReply) != 0) {
    return absl::InvalidArgumentError("a reply where nothing was asked");
  }
  if (header.payload_bytes > kMaxPayloadBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a payload of ", header.payload_bytes, " bytes; at most ",
                     kMaxPayloadBytes, " are accepted"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<MemoryRegion>> ParseMemoryTable(
    const Message& message) {
  struct TableHeader {
    uint32_t regions;
    uint32_t padding;
  } header;
  const std::string& payload = message.payload;
  if (payload.size() < sizeof(header)) {
    return WrongPayload(message, sizeof(header));
  }
  std::memcpy(&header, payload.data(), sizeof(header));
  if (header.regions > kMaxTableRegions) {
    return absl::InvalidArgumentError(
        absl::StrCat("SET_MEM_TABLE with ", header.regions,
                     " regions; at most ", kMaxTableRegions, " are accepted"));
  }
  std::vector<MemoryRegion> regions(header.regions);
  const size_t bytes = regions.size() * sizeof(MemoryRegion);
  // Some front-ends always send all of the table's places.
  if (payload.size() < sizeof(header) + bytes) {
    return WrongPayload(message, sizeof(header) + bytes);
  }
  if (bytes > 0) {
    std::memcpy(regions.data(), payload.data() + sizeof(header), bytes);
  }
  return regions;
}

Message Reply(const Message& message, std::string payload) {
  return {message.request, kVersion | kFlagReply, std::move(payload), {}};
}

std::string NameOf(Request request) {
  switch (request) {
    case Request::kGetFeatures:
      return "GET_FEATURES";
    case Request::kSetFeatures:
      return "SET_FEATURES";
    case Request::kSetOwner:
      return "SET_OWNER";
    case Request::kResetOwner:
      return "RESET_OWNER";
    case Request::kSetMemTable:
      return "SET_MEM_TABLE";
    case Request::kSetLogBase:
      return "SET_LOG_BASE";
    case Request::kSetLogFd:
      return "SET_LOG_FD";
    case Request::kSetVringNum:
      return "SET_VRING_NUM";
    case Request::kSetVringAddr:
      return "SET_VRING_ADDR";
    case Request::kSetVringBase:
      return "SET_VRING_BASE";
    case Request::kGetVringBase:
      return "GET_VRING_BASE";
    case Request::kSetVringKick:
      return "SET_VRING_KICK";
    case Request::kSetVringCall:
      return "SET_VRING_CALL";
    case Request::kSetVringErr:
      return "SET_VRING_ERR";
    case Request::kGetProtocolFeatures:
      return "GET_PROTOCOL_FEATURES";
    case Request::kSetProtocolFeatures:
      return "SET_PROTOCOL_FEATURES";
    case Request::kGetQueueNum:
      return "GET_QUEUE_NUM";
    case Request::kSetVringEnable:
      return "SET_VRING_ENABLE";
    case Request::kSetBackendReqFd:
      return "SET_BACKEND_REQ_FD";
    case Request::kGetConfig:
      return "GET_CONFIG";
    case Request::kSetConfig:
      return "SET_CONFIG";
    case Request::kGetInflightFd:
      return "GET_INFLIGHT_FD";
    case Request::kSetInflightFd:
      return "SET_INFLIGHT_FD";
    case Request::kResetDevice:
      return "RESET_DEVICE";
    case Request::kGetMaxMemSlots:
      return "GET_MAX_MEM_SLOTS";
    case Request::kAddMemReg:
      return "ADD_MEM_REG";
    case Request::kRemMemReg:
      return "REM_MEM_REG";
    case Request::kSetStatus:
      return "SET_STATUS";
    case Request::kGetStatus:
      return "GET_STATUS";
  }
  return absl::StrCat("request ", static_cast<uint32_t>(request));
}

absl::Status WrongPayload(const Message& message, size_t wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat(NameOf(message.request), " with a payload of ",
                   message.payload.size(), " bytes; ", wanted, " are needed"));
}

}  // namespace ramvol::vhost
