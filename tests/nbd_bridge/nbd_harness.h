// An NBD server over volumes in memory, and clients of it.
#ifndef RAMVOL_TESTS_NBD_BRIDGE_NBD_HARNESS_H_
#define RAMVOL_TESTS_NBD_BRIDGE_NBD_HARNESS_H_

#include <memory>
#include <string>

#include "base/client_memory.h"
#include "nbd_bridge/nbd_server.h"
#include "nbd_bridge/stats.h"
#include "tests/nbd_bridge/memory_device.h"
#include "tests/nbd_bridge/raw_client.h"

namespace ramvol::testing {

class NbdHarness {
 public:
  // Listens on a Unix socket beside what `options` name.
  explicit NbdHarness(bool synchronous, nbd::NbdServerOptions options = {},
                      const ClientMemory::Options& memory = {});

  MemoryExports& exports() { return exports_; }
  nbd::NbdServer& server() { return *server_; }
  const nbd::NbdStats& stats() const { return stats_; }
  ClientMemory& memory() { return memory_; }
  void StopServer() { server_.reset(); }

  // A connected descriptor.
  int Connect();
  std::unique_ptr<RawClient> NewClient();

 private:
  std::string path_;
  MemoryExports exports_;
  nbd::NbdStats stats_;
  ClientMemory memory_;
  std::unique_ptr<nbd::NbdServer> server_;
};

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_NBD_BRIDGE_NBD_HARNESS_H_
