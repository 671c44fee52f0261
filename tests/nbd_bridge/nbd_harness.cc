#include "tests/nbd_bridge/nbd_harness.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "gtest/gtest.h"
#include "nbd_bridge/nbd_address.h"

namespace ramvol::testing {

NbdHarness::NbdHarness(bool synchronous, nbd::NbdServerOptions options,
                       const ClientMemory::Options& memory)
    : exports_(synchronous), memory_(memory) {
  // Relative, because absolute paths may be too long.
  static std::atomic<int> next{0};
  path_ = absl::StrCat("nbd-", getpid(), "-", next++, ".sock");
  auto address = nbd::ParseNbdAddresses(absl::StrCat("unix:", path_));
  options.listen.push_back(address->front());
  auto server = nbd::NbdServer::Start(options, &exports_, &memory_, &stats_);
  RAMVOL_CHECK(server.ok());
  server_ = *std::move(server);
}

int NbdHarness::Connect() {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un addr{};
  addr.sun_family = AF_UNIX;
  std::memcpy(addr.sun_path, path_.data(), path_.size());
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&addr), sizeof(addr)), 0)
      << std::strerror(errno);
  return fd;
}

std::unique_ptr<RawClient> NbdHarness::NewClient() {
  return std::make_unique<RawClient>(Connect());
}

}  // namespace ramvol::testing
