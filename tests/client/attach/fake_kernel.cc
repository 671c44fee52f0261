#include "tests/client/attach/fake_kernel.h"

#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/file_error.h"
#include "client/attach/nbd_netlink.h"

namespace ramvol {
namespace {

namespace fs = std::filesystem;

template <typename T>
T Take(const std::string& bytes, size_t offset) {
  T value = {};
  memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

// Attributes, each 2 bytes of length, 2 of type, then its content, padded to 4.
std::vector<std::pair<int, std::string>> Attributes(const std::string& bytes) {
  std::vector<std::pair<int, std::string>> all;
  for (size_t at = 0; at + 4 <= bytes.size();) {
    const size_t length = Take<uint16_t>(bytes, at);
    const int type = Take<uint16_t>(bytes, at + 2) & NLA_TYPE_MASK;
    all.emplace_back(type, bytes.substr(at + 4, length - 4));
    at += (length + 3) / 4 * 4;
  }
  return all;
}

}  // namespace

std::optional<uint64_t> ParsedMessage::Number(int attribute) const {
  const auto found = attributes.find(attribute);
  if (found == attributes.end()) return std::nullopt;
  if (found->second.size() == 4) return Take<uint32_t>(found->second, 0);
  if (found->second.size() == 8) return Take<uint64_t>(found->second, 0);
  return std::nullopt;
}

std::string ParsedMessage::Text(int attribute) const {
  const auto found = attributes.find(attribute);
  return found == attributes.end() ? "" : std::string(found->second.c_str());
}

ParsedMessage ParseMessage(const std::string& bytes) {
  constexpr size_t kHeads = sizeof(nlmsghdr) + sizeof(genlmsghdr);
  ParsedMessage message;
  const auto head = Take<nlmsghdr>(bytes, 0);
  const auto generic = Take<genlmsghdr>(bytes, sizeof(nlmsghdr));
  message.family = head.nlmsg_type;
  message.command = generic.cmd;
  message.version = generic.version;
  for (const auto& [type, content] :
       Attributes(bytes.substr(kHeads, head.nlmsg_len - kHeads))) {
    message.attributes[type] = content;
    if (type != NBD_ATTR_SOCKETS) continue;
    for (const auto& item : Attributes(content)) {
      for (const auto& fd : Attributes(item.second)) {
        if (item.first == NBD_SOCK_ITEM && fd.first == NBD_SOCK_FD) {
          message.sockets.push_back(Take<int32_t>(fd.second, 0));
        }
      }
    }
  }
  return message;
}

std::string MakeEvent(uint8_t command, int index) {
  struct {
    nlmsghdr head;
    genlmsghdr generic;
    uint16_t length;
    uint16_t type;
    int32_t index;
  } event = {};
  event.head.nlmsg_len = sizeof(event);
  event.head.nlmsg_type = kFakeFamily;
  event.generic.cmd = command;
  event.generic.version = 1;
  event.length = 8;
  event.type = NBD_ATTR_INDEX;
  event.index = index;
  return std::string(reinterpret_cast<const char*>(&event), sizeof(event));
}

class FakeKernel::Netlink : public NbdNetlink {
 public:
  explicit Netlink(FakeKernel* kernel) : kernel_(kernel) {}

  int family() const override { return kFakeFamily; }
  absl::StatusOr<std::vector<std::string>> Call(nl_msg* message) override {
    const nlmsghdr* head = nlmsg_hdr(message);
    return kernel_->Handle(ParseMessage(
        std::string(reinterpret_cast<const char*>(head), head->nlmsg_len)));
  }
  absl::Status Listen() override {
    listening_ = true;
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<std::string>> Events(absl::Duration) override {
    if (!listening_) return absl::InternalError("nobody listened");
    if (kernel_->events_.empty() && kernel_->on_wait) kernel_->on_wait();
    if (std::exchange(kernel_->lose_events, false)) {
      kernel_->events_.clear();
      return absl::DataLossError("lost");
    }
    return std::exchange(kernel_->events_, {});
  }

 private:
  FakeKernel* const kernel_;
  bool listening_ = false;
};

FakeKernel::FakeKernel(const std::string& sys) : sys_(sys) {
  fs::create_directories(fs::path(sys) / "block" / "sda");
  // Present and not attached.
  fs::create_directories(fs::path(sys) / "block" / "nbd0" / "mq" / "0");
}

std::unique_ptr<NbdNetlink> FakeKernel::Open() {
  return std::make_unique<Netlink>(this);
}

void FakeKernel::AddDevice(int index, const std::string& backend, int queues) {
  const fs::path folder = fs::path(sys_) / "block" / absl::StrCat("nbd", index);
  fs::remove_all(folder);
  for (int i = 0; i < queues; ++i) {
    fs::create_directories(folder / "mq" / absl::StrCat(i));
  }
  std::ofstream(folder / "pid") << 77 << "\n";
  std::ofstream(folder / "size") << (1 << 20) / 512 << "\n";
  if (!backend.empty()) std::ofstream(folder / "backend") << backend << "\n";
  devices_[index] = {.connections = queues, .dead = 0, .backend = backend};
}

void FakeKernel::RemoveDevice(int index) {
  fs::remove(fs::path(sys_) / "block" / absl::StrCat("nbd", index) / "pid");
  devices_.erase(index);
}

void FakeKernel::KillConnection(int index) {
  ++devices_.at(index).dead;
  events_.push_back(MakeEvent(NBD_CMD_LINK_DEAD, index));
}

absl::StatusOr<std::vector<std::string>> FakeKernel::Handle(
    const ParsedMessage& message) {
  calls.push_back(message);
  if (fail_with != 0) return FileError(fail_with, "the kernel");
  switch (message.command) {
    case NBD_CMD_CONNECT:
      return Connect(message);
    case NBD_CMD_RECONFIGURE: {
      absl::Status status = Reconfigure(message);
      if (!status.ok()) return status;
      break;
    }
    case NBD_CMD_DISCONNECT:
      if (held_open) break;
      RemoveDevice(static_cast<int>(*message.Number(NBD_ATTR_INDEX)));
      break;
    default:
      return FileError(EOPNOTSUPP, "the kernel");
  }
  return std::vector<std::string>();
}

absl::StatusOr<std::vector<std::string>> FakeKernel::Connect(
    const ParsedMessage& message) {
  int index = 0;
  if (message.Number(NBD_ATTR_INDEX).has_value()) {
    index = static_cast<int>(*message.Number(NBD_ATTR_INDEX));
    if (Has(index)) return FileError(EBUSY, "the kernel");
  } else {
    while (Has(index)) ++index;
  }
  AddDevice(index, message.Text(NBD_ATTR_BACKEND_IDENTIFIER),
            static_cast<int>(message.sockets.size()));
  return std::vector<std::string>{MakeEvent(NBD_CMD_CONNECT, index)};
}

absl::Status FakeKernel::Reconfigure(const ParsedMessage& message) {
  const auto found = devices_.find(
      static_cast<int>(message.Number(NBD_ATTR_INDEX).value_or(999)));
  if (found == devices_.end() ||
      message.Text(NBD_ATTR_BACKEND_IDENTIFIER) != found->second.backend) {
    return FileError(EINVAL, "the kernel");
  }
  Device& device = found->second;
  for (size_t i = 0; i < message.sockets.size(); ++i) {
    if (device.dead > 0) --device.dead;
  }
  return absl::OkStatus();
}

}  // namespace ramvol
