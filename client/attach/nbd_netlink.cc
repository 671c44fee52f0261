#include "client/attach/nbd_netlink.h"

#include <linux/nbd-netlink.h>
#include <netlink/errno.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/handlers.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <poll.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/file_error.h"
#include "base/reason.h"

namespace ramvol {
namespace {

using SocketPtr = std::unique_ptr<nl_sock, decltype(&nl_socket_free)>;
using CallbacksPtr = std::unique_ptr<nl_cb, decltype(&nl_cb_put)>;

absl::Status LibraryError(const char* what, int error) {
  return absl::UnknownError(
      absl::StrCat(what, " failed: ", nl_geterror(error)));
}

// The messages of one receive call.
struct Received {
  std::vector<std::string> messages;
  int error = 0;  // An errno value.
  bool done = false;
};

int OnMessage(nl_msg* message, void* argument) {
  const nlmsghdr* head = nlmsg_hdr(message);
  static_cast<Received*>(argument)->messages.emplace_back(
      reinterpret_cast<const char*>(head), head->nlmsg_len);
  return NL_OK;
}

int OnAck(nl_msg*, void* argument) {
  static_cast<Received*>(argument)->done = true;
  return NL_STOP;
}

int OnError(sockaddr_nl*, nlmsgerr* error, void* argument) {
  auto* received = static_cast<Received*>(argument);
  received->error = -error->error;
  received->done = true;
  return NL_STOP;
}

int Accept(nl_msg*, void*) { return NL_OK; }

class LibnlNetlink : public NbdNetlink {
 public:
  // Only the driver's broadcasts come over `events`, so that none is taken for
  // an answer.
  LibnlNetlink(SocketPtr socket, SocketPtr events, int family)
      : socket_(std::move(socket)),
        events_(std::move(events)),
        family_(family) {}

  int family() const override { return family_; }

  absl::StatusOr<std::vector<std::string>> Call(nl_msg* message) override {
    const int sent = nl_send_auto(socket_.get(), message);
    if (sent < 0) return LibraryError("sending to the nbd driver", sent);
    Received received;
    const CallbacksPtr callbacks = MakeCallbacks(&received);
    while (!received.done) {
      const int result = nl_recvmsgs(socket_.get(), callbacks.get());
      if (result < 0 && !received.done) {
        return LibraryError("the nbd driver's answer", result);
      }
    }
    if (received.error == 0) return std::move(received.messages);
    return FileError(received.error, "the kernel's nbd driver");
  }

  absl::Status Listen() override {
    const int group = genl_ctrl_resolve_grp(socket_.get(), NBD_GENL_FAMILY_NAME,
                                            NBD_GENL_MCAST_GROUP_NAME);
    if (group < 0) return LibraryError("finding the nbd driver's group", group);
    const int joined = nl_socket_add_membership(events_.get(), group);
    if (joined < 0) {
      return LibraryError("joining the nbd driver's group", joined);
    }
    nl_socket_disable_seq_check(events_.get());
    nl_socket_set_nonblocking(events_.get());
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::string>> Events(
      absl::Duration timeout) override {
    pollfd poll_fd = {
        .fd = nl_socket_get_fd(events_.get()), .events = POLLIN, .revents = 0};
    const auto milliseconds =
        static_cast<int>(absl::ToInt64Milliseconds(timeout));
    if (poll(&poll_fd, 1, milliseconds) <= 0) {
      return std::vector<std::string>();
    }
    Received received;
    const CallbacksPtr callbacks = MakeCallbacks(&received);
    int result = 0;
    while (result >= 0) result = nl_recvmsgs(events_.get(), callbacks.get());
    if (result == -NLE_AGAIN) return std::move(received.messages);
    // The library's code for ENOBUFS.
    if (result == -NLE_NOMEM) {
      return absl::DataLossError("events of the nbd driver were lost");
    }
    return LibraryError("receiving events of the nbd driver", result);
  }

 private:
  static CallbacksPtr MakeCallbacks(Received* received) {
    CallbacksPtr callbacks(nl_cb_alloc(NL_CB_DEFAULT), nl_cb_put);
    nl_cb_set(callbacks.get(), NL_CB_VALID, NL_CB_CUSTOM, OnMessage, received);
    nl_cb_set(callbacks.get(), NL_CB_ACK, NL_CB_CUSTOM, OnAck, received);
    nl_cb_set(callbacks.get(), NL_CB_SEQ_CHECK, NL_CB_CUSTOM, Accept, nullptr);
    nl_cb_err(callbacks.get(), NL_CB_CUSTOM, OnError, received);
    return callbacks;
  }

  const SocketPtr socket_;
  const SocketPtr events_;
  const int family_;
};

absl::StatusOr<SocketPtr> Connect() {
  SocketPtr socket(nl_socket_alloc(), nl_socket_free);
  if (socket == nullptr) return absl::ResourceExhaustedError("no memory");
  const int result = genl_connect(socket.get());
  if (result < 0) return LibraryError("opening generic netlink", result);
  return socket;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NbdNetlink>> OpenNbdNetlink() {
  absl::StatusOr<SocketPtr> socket = Connect();
  if (!socket.ok()) return socket.status();
  absl::StatusOr<SocketPtr> events = Connect();
  if (!events.ok()) return events.status();
  const int family = genl_ctrl_resolve(socket->get(), NBD_GENL_FAMILY_NAME);
  if (family < 0) {
    return WithReason(absl::FailedPreconditionError(
                          "the kernel's nbd driver is not loaded; load it with "
                          "\"modprobe nbd\""),
                      "NO_NBD_DRIVER");
  }
  return std::make_unique<LibnlNetlink>(*std::move(socket), *std::move(events),
                                        family);
}

}  // namespace ramvol
