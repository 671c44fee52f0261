// Connections to a vhost-user session over a volume of bytes.
#ifndef RAMVOL_TESTS_VHOST_USER_DEVICE_HARNESS_H_
#define RAMVOL_TESTS_VHOST_USER_DEVICE_HARNESS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/block/thread_cache.h"
#include "base/mutex.h"
#include "tests/nbd_bridge/memory_device.h"
#include "tests/vhost_user/front_end.h"
#include "vhost_user/device.h"
#include "vhost_user/session.h"
#include "vhost_user/stats.h"

namespace ramvol::testing {

// One connection at a time.
class DeviceHarness {
 public:
  explicit DeviceHarness(uint64_t size_bytes, bool read_only = false,
                         int max_threads = vhost::DefaultDeviceThreads());
  ~DeviceHarness();

  // A front-end whose session runs in a thread.
  std::unique_ptr<FrontEnd> Connect();
  // Waits until the session has ended. Returns why; OK when the front-end left.
  absl::Status Join();
  // See Session::SetSize; while there is a connection.
  void SetSize(uint64_t bytes);

  MemoryVolume& volume() { return *volume_; }
  const vhost::VhostStats& stats() const { return stats_; }

 private:
  void Serve(int socket);
  void Note(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mu_);

  const int max_threads_;
  MemoryExports exports_{/*synchronous=*/true};
  MemoryVolume* volume_;
  vhost::VhostStats stats_;
  block::ThreadCache threads_;
  std::thread thread_;

  Mutex mu_;
  absl::Status why_ ABSL_GUARDED_BY(mu_);
  vhost::Session* session_ ABSL_GUARDED_BY(mu_) = nullptr;
};

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_VHOST_USER_DEVICE_HARNESS_H_
