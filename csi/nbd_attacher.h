// Attaches by the kernel's nbd driver.
#ifndef RAMVOL_CSI_NBD_ATTACHER_H_
#define RAMVOL_CSI_NBD_ATTACHER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "client/attach/attacher.h"
#include "client/attach/nbd_connection.h"
#include "client/attach/nbd_devices.h"
#include "client/attach/nbd_netlink.h"
#include "csi/device_attacher.h"

namespace ramvol::csi_driver {

// What it needs. Tests replace it.
struct NbdWorld {
  std::function<absl::StatusOr<std::unique_ptr<NbdNetlink>>()> open_netlink;
  // Makes a connection to the volume of this name.
  std::function<absl::StatusOr<NbdConnection>(const std::string&)> connect;
  // The present uid of the volume of this name.
  std::function<absl::StatusOr<std::string>(const std::string&)> find_uid;
  // Whether ramvold still has the volume with this name, once, and uid.
  std::function<absl::StatusOr<bool>(const std::string&, const std::string&)>
      has_volume;
  std::string sys = "/sys";
  std::string dev = "/dev";
  int cpus = 1;
  // Long enough for a rolling update of ramvold.
  absl::Duration dead_connection_timeout = absl::Minutes(10);
};

// The driver keeps the device when this process or ramvold ends. A thread for
// each device replaces connections that die, so that requests only wait while
// ramvold is restarted. Devices that people attached, with "ramvol attach" or
// otherwise, stay as they are: the text that the kernel keeps tells which.
class NbdAttacher final : public DeviceAttacher {
 public:
  explicit NbdAttacher(NbdWorld world) : world_(std::move(world)) {}
  // Ends the threads; devices stay.
  ~NbdAttacher() override;

  NbdAttacher(const NbdAttacher&) = delete;
  NbdAttacher& operator=(const NbdAttacher&) = delete;

  // Cares for the devices that an earlier process attached.
  void KeepAll();

  std::string way() const override { return "nbd"; }
  absl::StatusOr<std::string> Attach(const DeviceVolume& volume,
                                     absl::Time deadline) override;
  absl::Status Detach(const std::string& name, absl::Time deadline) override;
  absl::Status Grow(const AttachedDevice& attached, uint64_t bytes) override;
  std::vector<AttachedDevice> List() const override;

 private:
  // A thread that keeps one device connected.
  struct Keeper {
    std::atomic<bool> interrupted = false;
    std::atomic<bool> over = false;
    std::thread thread;
  };

  // The index of a device that is disconnected and not free, and the uid of the
  // volume that it had.
  using Disconnected = std::pair<int, std::string>;

  AttachRequest RequestFor(const std::string& name) const;
  AttachWorld WorldOf(const std::string& name, KernelNbd* kernel,
                      const std::atomic<bool>* interrupted) const;
  std::string PathOf(int index) const;
  absl::StatusOr<int> AttachOnce(const DeviceVolume& volume) const;
  // What ramvold has lost cannot be written to it.
  absl::Status Disconnect(int index, const NbdBackend& backend,
                          absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_);
  bool IsDisconnected(const Disconnected& device) ABSL_LOCKS_EXCLUDED(mu_);
  void SetDisconnected(const Disconnected& device, bool is)
      ABSL_LOCKS_EXCLUDED(mu_);
  void Keep(const std::string& name) ABSL_LOCKS_EXCLUDED(mu_);
  void RunKeeper(const std::string& name, Keeper* keeper) const;
  // Waits for the thread.
  void Drop(const std::string& name) ABSL_LOCKS_EXCLUDED(mu_);

  const NbdWorld world_;
  Mutex mu_;
  std::map<std::string, std::unique_ptr<Keeper>> keepers_ ABSL_GUARDED_BY(mu_);
  // Of this driver's, that programs have open still.
  std::set<Disconnected> disconnected_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_NBD_ATTACHER_H_
