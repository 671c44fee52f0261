#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/conformance/device.h"
#include "tests/conformance/grpc_device.h"
#include "tests/conformance/nbd_device.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_server.h"

namespace ramvol::testing {
namespace {

constexpr int64_t kSectorBytes = 512;
constexpr absl::Duration kMaxStart = absl::Seconds(60);

// 0, or the errno of a connection to the Unix socket.
int ConnectError(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int error = connect(fd, reinterpret_cast<const sockaddr*>(&address),
                            sizeof(address)) == 0
                        ? 0
                        : errno;
  close(fd);
  return error;
}

// Debian 13's qemu-storage-daemon, which serves a volume's socket of vhost-user
// over NBD.
class StorageDaemon {
 public:
  StorageDaemon(const std::string& vhost_socket, const std::string& nbd_socket,
                const std::string& name, bool read_only)
      : process_(
            "/bin/sh",
            {"-c",
             absl::StrCat(
                 "exec ramvol-vhost qemu-storage-daemon --blockdev "
                 "driver=virtio-blk-vhost-user,node-name=n,cache.direct=on,"
                 "discard=unmap,path=",
                 vhost_socket, read_only ? ",read-only=on" : "",
                 " --nbd-server addr.type=unix,max-connections=64,"
                 "addr.path=",
                 nbd_socket, " --export type=nbd,id=e,node-name=n,name=", name,
                 read_only ? "" : ",writable=on")}) {
    const absl::Time deadline = absl::Now() + kMaxStart;
    // The file is there before the daemon listens, and refuses until then.
    int error = ConnectError(nbd_socket);
    while ((error == ENOENT || error == ECONNREFUSED) &&
           absl::Now() < deadline) {
      absl::SleepFor(absl::Milliseconds(10));
      error = ConnectError(nbd_socket);
    }
    EXPECT_EQ(error, 0) << nbd_socket << ": " << strerror(error);
  }

 private:
  Process process_;
};

// The daemon refuses to trim parts of sectors. A guest's kernel would leave
// them alone; here they become zeroes, as the tests expect of a trim.
class SectorDevice : public NbdDevice {
 public:
  using NbdDevice::NbdDevice;

  absl::Status Trim(int64_t offset, int64_t length) override {
    const int64_t end = offset + length;
    const int64_t first =
        (offset + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
    const int64_t last = end / kSectorBytes * kSectorBytes;
    if (first >= last) return Zero(offset, end);
    absl::Status done = Zero(offset, first);
    if (done.ok()) done = NbdDevice::Trim(first, last - first);
    return done.ok() ? Zero(last, end) : done;
  }

 private:
  absl::Status Zero(int64_t begin, int64_t end) {
    if (begin >= end) return absl::OkStatus();
    return WriteZeroes(begin, end - begin, /*no_hole=*/false);
  }
};

// The sockets, and a daemon for each volume that was opened: a socket has one
// connection at a time.
class Daemons {
 public:
  std::string vhost_user_dir() const { return folder_.path() + "/v"; }

  std::unique_ptr<Device> Open(const std::string& name) {
    const std::string nbd_socket =
        absl::StrCat(folder_.path(), "/", name, ".nbd");
    std::unique_ptr<StorageDaemon>& daemon = daemons_[name];
    if (daemon == nullptr) {
      daemon = std::make_unique<StorageDaemon>(
          absl::StrCat(vhost_user_dir(), "/", name, ".sock"), nbd_socket, name,
          absl::StartsWith(name, "@"));
    }
    return std::make_unique<SectorDevice>(nbd_socket, name);
  }

 private:
  const TempDir folder_ = TempDir::ForSockets();
  std::map<std::string, std::unique_ptr<StorageDaemon>> daemons_;
};

class VhostFactory : public GrpcFactory {
 public:
  using GrpcFactory::GrpcFactory;

  // A disk has whole sectors.
  std::unique_ptr<Device> Open(const std::string& name,
                               int64_t size_bytes) override {
    return GrpcFactory::Open(
        name, (size_bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes);
  }
  bool errors_explain() const override { return false; }
  int64_t max_range_bytes() const override { return NbdDevice::kMaxRangeBytes; }
};

}  // namespace

std::unique_ptr<DeviceFactory> MakeVhostFactory() {
  auto daemons = std::make_shared<Daemons>();
  server::ServerOptions options = ConformanceServerOptions();
  options.vhost_user_dir = daemons->vhost_user_dir();
  return std::make_unique<VhostFactory>(
      [daemons](TestServer&, const std::string& name) {
        return daemons->Open(name);
      },
      options);
}

}  // namespace ramvol::testing
