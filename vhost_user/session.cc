#include "vhost_user/session.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "vhost_user/channel.h"
#include "vhost_user/config_space.h"
#include "vhost_user/inflight.h"
#include "vhost_user/setup.h"
#include "vhost_user/shared_mapping.h"

namespace ramvol::vhost {
namespace {

absl::Status NoQueue(uint64_t index) {
  return absl::InvalidArgumentError(absl::StrCat(
      "there is no queue ", index, "; this server has ", kMaxQueues));
}

absl::Status Unoffered(absl::string_view what, uint64_t features,
                       uint64_t offered) {
  return absl::InvalidArgumentError(
      absl::StrCat(what, " ", absl::Hex(features), " were taken, and ",
                   absl::Hex(offered), " offered"));
}

// Other files could make a thread of this server wait for the front-end.
absl::Status CheckEvent(const Descriptor& descriptor) {
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", descriptor.get());
  char target[64];
  const ssize_t length = readlink(path, target, sizeof(target));
  const absl::string_view found(target, length < 0 ? 0 : length);
  if (found == "anon_inode:[eventfd]") return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a descriptor that is no eventfd but ", found));
}

std::optional<Message> ReplyNumber(const Message& message, uint64_t number) {
  return Reply(message, Bytes(number));
}

absl::Status CheckInflight(const InflightArea& area) {
  if (area.queues == 0 || area.queues > kMaxQueues || area.queue_size == 0 ||
      area.queue_size > Virtqueue::kMaxSize) {
    return absl::InvalidArgumentError(
        absl::StrCat("in-flight memory for ", area.queues, " queues of ",
                     area.queue_size, " entries"));
  }
  return absl::OkStatus();
}

// Some front-ends leave the padding out.
absl::StatusOr<InflightArea> ParseInflight(const Message& message) {
  InflightArea area{};
  constexpr size_t kPadding = sizeof(area.padding);
  const size_t bytes = message.payload.size();
  if (bytes != sizeof(area) && bytes != sizeof(area) - kPadding) {
    return WrongPayload(message, sizeof(area));
  }
  std::memcpy(&area, message.payload.data(), bytes);
  area.padding = 0;
  absl::Status valid = CheckInflight(area);
  if (!valid.ok()) return valid;
  return area;
}

size_t InflightBytes(const InflightArea& area) {
  return area.queues * Inflight::BytesFor(area.queue_size);
}

absl::Status NeedsOneDescriptor(const Message& message) {
  if (message.descriptors.size() == 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(NameOf(message.request), " with ",
                   message.descriptors.size(), " descriptors; it needs one"));
}

}  // namespace

Session::Answer Session::Done(absl::Status status) {
  if (!status.ok()) return status;
  return std::nullopt;
}

Session::Outcome Session::Handle(Message message) {
  Answer answer = Dispatch(message);
  const bool acknowledges =
      message.needs_reply() && Has(ProtocolFeature::kReplyAck);
  if (!answer.ok()) {
    Outcome outcome{std::nullopt, answer.status()};
    if (acknowledges) outcome.reply = ReplyNumber(message, 1);
    return outcome;
  }
  if (!answer->has_value() && acknowledges) *answer = ReplyNumber(message, 0);
  return {*std::move(answer), absl::OkStatus()};
}

Session::Answer Session::Dispatch(Message& message) {
  switch (message.request) {
    case Request::kSetOwner:
    case Request::kResetOwner:
    case Request::kSetLogFd:
    // All that could be set is read-only.
    case Request::kSetConfig:
      return std::nullopt;
    case Request::kGetFeatures:
      return ReplyNumber(message, OfferedFeatures(device_.read_only()));
    case Request::kGetProtocolFeatures:
      return ReplyNumber(message, OfferedProtocolFeatures());
    case Request::kGetQueueNum:
      return ReplyNumber(message, kMaxQueues);
    case Request::kGetMaxMemSlots:
      return ReplyNumber(message, GuestMemory::kMaxRegions);
    case Request::kGetStatus:
      return ReplyNumber(message, status_);
    case Request::kGetConfig:
      return GetConfig(message);
    case Request::kResetDevice:
      return Done(Reset());
    case Request::kSetFeatures:
    case Request::kSetProtocolFeatures:
    case Request::kSetStatus: {
      const auto number = Parse<uint64_t>(message);
      if (!number.ok()) return number.status();
      if (message.request == Request::kSetFeatures) {
        return Done(SetFeatures(*number));
      }
      return Done(message.request == Request::kSetStatus
                      ? SetStatus(*number)
                      : SetProtocolFeatures(*number));
    }
    default:
      return DispatchVring(message);
  }
}

Session::Answer Session::DispatchVring(Message& message) {
  switch (message.request) {
    case Request::kSetVringNum:
    case Request::kSetVringBase:
    case Request::kSetVringEnable: {
      const auto state = Parse<VringState>(message);
      if (!state.ok()) return state.status();
      return Done(SetVring(message, *state));
    }
    case Request::kSetVringAddr: {
      const auto address = Parse<VringAddress>(message);
      if (!address.ok()) return address.status();
      return Done(SetVringAddress(*address));
    }
    case Request::kGetVringBase:
      return GetVringBase(message);
    case Request::kSetVringKick:
    case Request::kSetVringCall:
    case Request::kSetVringErr:
      return Done(SetVringDescriptor(message));
    default:
      return DispatchMemory(message);
  }
}

Session::Answer Session::DispatchMemory(Message& message) {
  switch (message.request) {
    case Request::kSetMemTable:
      return Done(SetMemTable(message));
    case Request::kAddMemReg:
    case Request::kRemMemReg:
      return Done(ChangeRegion(message));
    case Request::kSetLogBase: {
      absl::Status set = SetLog(message);
      if (!set.ok()) return set;
      return ReplyNumber(message, 0);
    }
    case Request::kGetInflightFd:
      return GetInflight(message);
    case Request::kSetInflightFd:
      return Done(SetInflight(message));
    case Request::kSetBackendReqFd:
      return Done(SetBackend(message));
    default:
      return absl::UnimplementedError(
          absl::StrCat(NameOf(message.request), " is not supported"));
  }
}

absl::Status Session::SetFeatures(uint64_t features) {
  const uint64_t offered = OfferedFeatures(device_.read_only());
  if ((features & ~offered) != 0) {
    return Unoffered("features", features, offered);
  }
  return device_.Change([&](Setup& setup) {
    setup.features = features;
    return absl::OkStatus();
  });
}

absl::Status Session::SetProtocolFeatures(uint64_t features) {
  const uint64_t offered = OfferedProtocolFeatures();
  if ((features & ~offered) != 0) {
    return Unoffered("protocol features", features, offered);
  }
  protocol_features_ = features;
  return absl::OkStatus();
}

absl::Status Session::SetVring(const Message& message,
                               const VringState& state) {
  if (state.index >= kMaxQueues) return NoQueue(state.index);
  return device_.Change([&](Setup& setup) -> absl::Status {
    Queue& queue = *setup.queues[state.index];
    if (message.request == Request::kSetVringEnable) {
      queue.enabled = state.number != 0;
      return absl::OkStatus();
    }
    if (queue.ring.running()) {
      return absl::FailedPreconditionError(absl::StrCat(
          NameOf(message.request), " for queue ", state.index, ", which runs"));
    }
    if (message.request == Request::kSetVringNum) {
      return queue.ring.SetSize(state.number);
    }
    queue.ring.SetBase(static_cast<uint16_t>(state.number));
    return absl::OkStatus();
  });
}

absl::Status Session::SetVringAddress(const VringAddress& address) {
  if (address.index >= kMaxQueues) return NoQueue(address.index);
  return device_.Change([&](Setup& setup) {
    Queue& queue = *setup.queues[address.index];
    queue.ring.SetAddress(address);
    queue.has_address = true;
    return absl::OkStatus();
  });
}

Session::Answer Session::GetVringBase(const Message& message) {
  const auto state = Parse<VringState>(message);
  if (!state.ok()) return state.status();
  if (state->index >= kMaxQueues) return NoQueue(state->index);
  VringState base{state->index, 0};
  absl::Status stopped = device_.Change([&](Setup& setup) {
    Queue& queue = *setup.queues[state->index];
    queue.kicked = false;
    queue.ring.Stop();
    base.number = queue.ring.base();
    return device_.SetKick(state->index, queue, Descriptor());
  });
  if (!stopped.ok()) return stopped;
  return Reply(message, Bytes(base));
}

absl::Status Session::SetVringDescriptor(Message& message) {
  const auto number = Parse<uint64_t>(message);
  if (!number.ok()) return number.status();
  const auto index = static_cast<uint32_t>(*number & kVringIndexMask);
  if (index >= kMaxQueues) return NoQueue(index);
  Descriptor event;
  if ((*number & kVringNoDescriptor) == 0) {
    absl::Status valid = NeedsOneDescriptor(message);
    if (valid.ok()) valid = CheckEvent(message.descriptors[0]);
    if (!valid.ok()) return valid;
    event = std::move(message.descriptors[0]);
  }
  return device_.Change([&](Setup& setup) {
    Queue& queue = *setup.queues[index];
    if (message.request == Request::kSetVringKick) {
      queue.kicked = true;
      return device_.SetKick(index, queue, std::move(event));
    }
    device_.SetEvent(queue,
                     message.request == Request::kSetVringCall ? &Queue::call
                                                               : &Queue::error,
                     std::move(event));
    return absl::OkStatus();
  });
}

absl::Status Session::SetMemTable(const Message& message) {
  const auto regions = ParseMemoryTable(message);
  if (!regions.ok()) return regions.status();
  return device_.Change([&](Setup& setup) {
    return setup.memory.Set(*regions, message.descriptors);
  });
}

absl::Status Session::ChangeRegion(const Message& message) {
  const auto one = Parse<OneRegion>(message);
  if (!one.ok()) return one.status();
  if (message.request == Request::kRemMemReg) {
    return device_.Change(
        [&](Setup& setup) { return setup.memory.Remove(one->region); });
  }
  absl::Status valid = NeedsOneDescriptor(message);
  if (!valid.ok()) return valid;
  return device_.Change([&](Setup& setup) {
    return setup.memory.Add(one->region, message.descriptors[0]);
  });
}

absl::Status Session::SetLog(const Message& message) {
  if (!Has(ProtocolFeature::kLogShmFd)) {
    return absl::FailedPreconditionError(
        "SET_LOG_BASE without a log in shared memory");
  }
  const auto area = Parse<LogArea>(message);
  if (!area.ok()) return area.status();
  absl::Status valid = NeedsOneDescriptor(message);
  if (!valid.ok()) return valid;
  auto mapping = SharedMapping::Map(message.descriptors[0].get(), area->offset,
                                    area->bytes, device_.broken());
  if (!mapping.ok()) return mapping.status();
  auto log = std::make_unique<DirtyLog>(*std::move(mapping));
  return device_.Change([&](Setup& setup) {
    // The rings have the new one before the old one goes.
    log.swap(setup.log);
    return absl::OkStatus();
  });
}

Session::Answer Session::GetInflight(const Message& message) {
  auto area = ParseInflight(message);
  if (!area.ok()) return area.status();
  Descriptor memory(
      memfd_create("ramvol-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  area->bytes = InflightBytes(*area);
  area->offset = 0;
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  if (!memory.is_open() ||
      ftruncate(memory.get(), static_cast<off_t>(area->bytes)) != 0 ||
      fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "no memory for what is in flight: ", std::strerror(errno)));
  }
  Message reply =
      Reply(message, Bytes(*area).substr(0, message.payload.size()));
  reply.descriptors.push_back(std::move(memory));
  return reply;
}

absl::Status Session::SetInflight(const Message& message) {
  const auto area = ParseInflight(message);
  if (!area.ok()) return area.status();
  absl::Status valid = NeedsOneDescriptor(message);
  if (!valid.ok()) return valid;
  if (area->bytes < InflightBytes(*area)) {
    return absl::InvalidArgumentError(
        absl::StrCat("in-flight memory of ", area->bytes, " bytes; ",
                     InflightBytes(*area), " are needed"));
  }
  if (area->offset % 8 != 0) {
    return absl::InvalidArgumentError("in-flight memory that is not aligned");
  }
  auto mapping = SharedMapping::Map(message.descriptors[0].get(), area->offset,
                                    area->bytes, device_.broken());
  if (!mapping.ok()) return mapping.status();
  return device_.Change([&](Setup& setup) -> absl::Status {
    for (const std::unique_ptr<Queue>& queue : setup.queues) {
      if (!queue->ring.running()) continue;
      return absl::FailedPreconditionError(
          "SET_INFLIGHT_FD while a queue runs");
    }
    setup.inflight = *std::move(mapping);
    setup.inflight_area = *area;
    return absl::OkStatus();
  });
}

absl::Status Session::SetBackend(Message& message) {
  absl::Status valid = NeedsOneDescriptor(message);
  if (!valid.ok()) return valid;
  MutexLock lock(&backend_mu_);
  backend_.Reset();
  backend_ = std::move(message.descriptors[0]);
  return absl::OkStatus();
}

absl::Status Session::SetStatus(uint64_t status) {
  status_ = status;
  if (status != 0) return absl::OkStatus();
  return device_.Change([&](Setup& setup) -> absl::Status {
    for (const std::unique_ptr<Queue>& queue : setup.queues) {
      queue->kicked = false;
      queue->ring.Stop();
    }
    return absl::OkStatus();
  });
}

absl::Status Session::Reset() {
  status_ = 0;
  return device_.Change([&](Setup& setup) -> absl::Status {
    for (uint32_t i = 0; i < kMaxQueues; ++i) {
      absl::Status reset = device_.ResetQueue(i, setup.queues[i]);
      if (!reset.ok()) return reset;
    }
    setup.inflight.reset();
    setup.inflight_area = {};
    return absl::OkStatus();
  });
}

Session::Answer Session::GetConfig(const Message& message) {
  ConfigHeader header;
  if (message.payload.size() < sizeof(header)) {
    return WrongPayload(message, sizeof(header));
  }
  std::memcpy(&header, message.payload.data(), sizeof(header));
  if (message.payload.size() - sizeof(header) != header.bytes) {
    return WrongPayload(message, sizeof(header) + header.bytes);
  }
  if (header.bytes > kConfigSpaceBytes ||
      header.offset > kConfigSpaceBytes - header.bytes) {
    return Reply(message, "");  // That is the error.
  }
  const std::string space = ConfigSpace(device_.capacity_sectors());
  return Reply(
      message,
      absl::StrCat(Bytes(header), space.substr(header.offset, header.bytes)));
}

void Session::SetSize(uint64_t bytes) {
  if (!device_.SetSize(bytes)) return;
  MutexLock lock(&backend_mu_);
  if (!backend_.is_open()) return;
  const Message change = {
      static_cast<Request>(kConfigChange), kVersion, "", {}};
  // A front-end that does not read sees the size when it asks next.
  (void)Send(backend_.get(), change, /*wait=*/false);
}

}  // namespace ramvol::vhost
