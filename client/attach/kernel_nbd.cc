#include "client/attach/kernel_nbd.h"

#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <netlink/attr.h>
#include <netlink/genl/genl.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/file_error.h"
#include "base/reason.h"
#include "client/attach/nbd_netlink.h"

namespace ramvol {
namespace {

uint64_t Seconds(absl::Duration duration) {
  return static_cast<uint64_t>(
      absl::ToInt64Seconds(absl::Ceil(duration, absl::Seconds(1))));
}

// libnl's functions return 0 or a negative number.
int PutSockets(nl_msg* message, const std::vector<int>& sockets) {
  if (sockets.empty()) return 0;
  nlattr* list = nla_nest_start(message, NBD_ATTR_SOCKETS);
  if (list == nullptr) return -1;
  for (const int fd : sockets) {
    nlattr* item = nla_nest_start(message, NBD_SOCK_ITEM);
    if (item == nullptr) return -1;
    if (nla_put_u32(message, NBD_SOCK_FD, static_cast<uint32_t>(fd)) < 0) {
      return -1;
    }
    nla_nest_end(message, item);
  }
  return nla_nest_end(message, list);
}

int PutNumber(nl_msg* message, int attribute, std::optional<uint64_t> value) {
  return value.has_value() ? nla_put_u64(message, attribute, *value) : 0;
}

int PutSeconds(nl_msg* message, int attribute,
               std::optional<absl::Duration> duration) {
  return duration.has_value()
             ? nla_put_u64(message, attribute, Seconds(*duration))
             : 0;
}

int PutSettings(nl_msg* message, const NbdDeviceSettings& settings) {
  int worst = 0;
  const auto note = [&worst](int result) {
    if (result < 0) worst = result;
  };
  if (settings.index.has_value()) {
    note(nla_put_u32(message, NBD_ATTR_INDEX,
                     static_cast<uint32_t>(*settings.index)));
  }
  note(PutNumber(message, NBD_ATTR_SIZE_BYTES, settings.size_bytes));
  note(PutNumber(message, NBD_ATTR_BLOCK_SIZE_BYTES, settings.block_bytes));
  note(PutSeconds(message, NBD_ATTR_TIMEOUT, settings.request_timeout));
  note(PutSeconds(message, NBD_ATTR_DEAD_CONN_TIMEOUT,
                  settings.dead_connection_timeout));
  note(PutNumber(message, NBD_ATTR_SERVER_FLAGS, settings.server_flags));
  if (!settings.backend.empty()) {
    note(nla_put_string(message, NBD_ATTR_BACKEND_IDENTIFIER,
                        settings.backend.c_str()));
  }
  note(PutSockets(message, settings.sockets));
  return worst;
}

// The device of an answer or event, if its command is `command`.
std::optional<int> IndexOf(const std::string& message, uint8_t command) {
  // libnl reads the message in place, so it must be aligned.
  std::vector<nlmsghdr> aligned(message.size() / sizeof(nlmsghdr) + 1);
  memcpy(aligned.data(), message.data(), message.size());
  nlmsghdr* head = aligned.data();
  if (message.size() < sizeof(nlmsghdr) || head->nlmsg_len > message.size() ||
      !genlmsg_valid_hdr(head, 0)) {
    return std::nullopt;
  }
  nlattr* attributes[NBD_ATTR_MAX + 1] = {};
  if (genlmsg_hdr(head)->cmd != command ||
      genlmsg_parse(head, 0, attributes, NBD_ATTR_MAX, nullptr) < 0 ||
      attributes[NBD_ATTR_INDEX] == nullptr ||
      nla_len(attributes[NBD_ATTR_INDEX]) <
          static_cast<int>(sizeof(uint32_t))) {
    return std::nullopt;
  }
  return static_cast<int>(nla_get_u32(attributes[NBD_ATTR_INDEX]));
}

// Adds the usual cause and what to do.
absl::Status Explain(const absl::Status& status) {
  if (GetReason(status) == "EPERM") {
    return Annotate(status, "run it as root (CAP_SYS_ADMIN)");
  }
  return status;
}

absl::StatusOr<std::vector<std::string>> Send(
    NbdNetlink* netlink, uint8_t command, const NbdDeviceSettings& settings) {
  absl::StatusOr<NetlinkMessage> message =
      MakeNbdMessage(netlink->family(), command, settings);
  if (!message.ok()) return message.status();
  absl::StatusOr<std::vector<std::string>> answers =
      netlink->Call(message->get());
  if (!answers.ok()) return Explain(answers.status());
  return answers;
}

}  // namespace

absl::StatusOr<NetlinkMessage> MakeNbdMessage(
    int family, uint8_t command, const NbdDeviceSettings& settings) {
  NetlinkMessage message(nlmsg_alloc(), nlmsg_free);
  if (message == nullptr ||
      genlmsg_put(message.get(), NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, 0,
                  command, NBD_GENL_VERSION) == nullptr ||
      PutSettings(message.get(), settings) < 0) {
    return absl::ResourceExhaustedError("no room for a netlink message");
  }
  return message;
}

absl::StatusOr<int> KernelNbd::Connect(const NbdDeviceSettings& settings) {
  absl::StatusOr<std::vector<std::string>> answers =
      Send(netlink_, NBD_CMD_CONNECT, settings);
  if (!answers.ok()) return answers.status();
  for (const std::string& answer : *answers) {
    const std::optional<int> index = IndexOf(answer, NBD_CMD_CONNECT);
    if (index.has_value()) return *index;
  }
  // The driver leaves its answer out only when memory runs out.
  if (settings.index.has_value()) return *settings.index;
  return absl::InternalError(
      "the nbd driver attached a device and did not say which; see dmesg");
}

absl::Status KernelNbd::Reconfigure(const NbdDeviceSettings& settings) {
  return Send(netlink_, NBD_CMD_RECONFIGURE, settings).status();
}

absl::Status KernelNbd::Disconnect(int index) {
  NbdDeviceSettings settings;
  settings.index = index;
  return Send(netlink_, NBD_CMD_DISCONNECT, settings).status();
}

absl::Status KernelNbd::Listen() { return netlink_->Listen(); }

absl::StatusOr<int> KernelNbd::CountDead(int index, absl::Duration timeout) {
  absl::StatusOr<std::vector<std::string>> events = netlink_->Events(timeout);
  if (absl::IsDataLoss(events.status())) return -1;
  if (!events.ok()) return events.status();
  int dead = 0;
  for (const std::string& event : *events) {
    if (IndexOf(event, NBD_CMD_LINK_DEAD) == index) ++dead;
  }
  return dead;
}

}  // namespace ramvol
