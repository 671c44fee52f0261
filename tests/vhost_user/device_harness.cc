#include "tests/vhost_user/device_harness.h"

#include <sys/socket.h>

#include <optional>
#include <utility>

#include "base/check.h"
#include "vhost_user/channel.h"

namespace ramvol::testing {

DeviceHarness::DeviceHarness(uint64_t size_bytes, bool read_only,
                             int max_threads)
    : max_threads_(max_threads),
      volume_(&exports_.Add("disk", size_bytes, read_only)) {}

DeviceHarness::~DeviceHarness() { (void)Join(); }

std::unique_ptr<FrontEnd> DeviceHarness::Connect() {
  (void)Join();
  int sockets[2];
  RAMVOL_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) ==
               0);
  {
    MutexLock lock(&mu_);
    why_ = absl::OkStatus();
  }
  thread_ = std::thread([this, fd = sockets[0]] { Serve(fd); });
  return std::make_unique<FrontEnd>(sockets[1]);
}

void DeviceHarness::Note(const absl::Status& why) {
  MutexLock lock(&mu_);
  why_.Update(why);
}

void DeviceHarness::Serve(int socket) {
  const vhost::Descriptor owned(socket);
  auto device = exports_.Open("disk", "test");
  RAMVOL_CHECK(device.ok());
  vhost::Session session(*std::move(device),
                         {.id = "0123456789abcdef",
                          .failed =
                              [this, socket](const absl::Status& why) {
                                Note(why);
                                shutdown(socket, SHUT_RDWR);
                              },
                          .threads = threads_,
                          .stats = stats_,
                          .max_threads = max_threads_});
  {
    MutexLock lock(&mu_);
    session_ = &session;
  }
  for (bool going = true; going;) {
    auto message = vhost::Receive(socket);
    if (!message.ok()) Note(message.status());
    if (!message.ok() || !message->has_value()) break;
    vhost::Session::Outcome outcome = session.Handle(**std::move(message));
    if (outcome.reply.has_value()) {
      going = vhost::Send(socket, *outcome.reply, /*wait=*/true);
    }
    Note(outcome.status);
    if (!outcome.status.ok()) break;
  }
  session.Stop();
  MutexLock lock(&mu_);
  session_ = nullptr;
}

absl::Status DeviceHarness::Join() {
  if (thread_.joinable()) thread_.join();
  MutexLock lock(&mu_);
  return why_;
}

void DeviceHarness::SetSize(uint64_t bytes) {
  MutexLock lock(&mu_);
  RAMVOL_CHECK(session_ != nullptr);
  session_->SetSize(bytes);
}

}  // namespace ramvol::testing
