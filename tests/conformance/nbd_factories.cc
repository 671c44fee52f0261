#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "base/client_memory.h"
#include "client/client.h"
#include "nbd_bridge/nbd_address.h"
#include "nbd_bridge/nbd_server.h"
#include "nbd_bridge/remote_device.h"
#include "nbd_bridge/stats.h"
#include "tests/conformance/device.h"
#include "tests/conformance/grpc_device.h"
#include "tests/conformance/nbd_device.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_server.h"

namespace ramvol::testing {
namespace {

// A path for a socket. It is gone with this object.
class SocketPath {
 public:
  std::string path() const { return folder_.path() + "/nbd"; }

  nbd::NbdServerOptions NbdOptions() const {
    nbd::NbdServerOptions options;
    options.listen = *nbd::ParseNbdAddresses("unix:" + path());
    return options;
  }

 private:
  const TempDir folder_ = TempDir::ForSockets();
};

class NbdFactory : public GrpcFactory {
 public:
  using GrpcFactory::GrpcFactory;

  bool errors_explain() const override { return false; }
  int64_t max_range_bytes() const override { return NbdDevice::kMaxRangeBytes; }
};

// What ramvol-nbd is, in this process.
class Bridge {
 public:
  explicit Bridge(const std::string& server) : exports_(MakeClient(server)) {
    auto nbd = nbd::NbdServer::Start(socket_.NbdOptions(), &exports_, &memory_,
                                     &stats_);
    if (!nbd.ok()) {
      std::fprintf(stderr, "%s\n", nbd.status().ToString().c_str());
      std::abort();
    }
    server_ = *std::move(nbd);
  }

  std::string path() const { return socket_.path(); }

 private:
  static Client MakeClient(const std::string& server) {
    ClientOptions options;
    options.server = server;
    return Client(options);
  }

  SocketPath socket_;
  nbd::RemoteExports exports_;
  ClientMemory memory_{ClientMemory::Options()};
  nbd::NbdStats stats_;
  std::unique_ptr<nbd::NbdServer> server_;
};

}  // namespace

std::unique_ptr<DeviceFactory> MakeNbdFactory() {
  auto socket = std::make_shared<SocketPath>();
  server::ServerOptions options = TestServerOptions();
  options.nbd = socket->NbdOptions();
  return std::make_unique<NbdFactory>(
      [socket](TestServer&, const std::string& name) {
        return std::make_unique<NbdDevice>(socket->path(), name);
      },
      options);
}

std::unique_ptr<DeviceFactory> MakeNbdBridgeFactory() {
  // Made with the first device, since it needs the server.
  auto bridge = std::make_shared<std::unique_ptr<Bridge>>();
  return std::make_unique<NbdFactory>([bridge](TestServer& server,
                                               const std::string& name) {
    if (*bridge == nullptr) {
      *bridge =
          std::make_unique<Bridge>(server.server().grpc_addresses().front());
    }
    return std::make_unique<NbdDevice>((*bridge)->path(), name);
  });
}

}  // namespace ramvol::testing
