// Attaches a volume to a device of the kernel's nbd driver, and keeps it
// attached.
#ifndef RAMVOL_CLIENT_ATTACH_ATTACHER_H_
#define RAMVOL_CLIENT_ATTACH_ATTACHER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/attach/kernel_nbd.h"
#include "client/attach/nbd_connection.h"
#include "client/attach/nbd_devices.h"

namespace ramvol {

inline constexpr int kMaxNbdConnections = 64;
inline constexpr int kDefaultNbdConnections = 4;
// After this time, the driver sends a request of a broken connection again. It
// learns no sooner that the request is lost.
inline constexpr absl::Duration kDefaultRequestTimeout = absl::Seconds(30);
inline constexpr absl::Duration kDefaultDeadConnectionTimeout =
    absl::Seconds(60);

struct AttachRequest {
  std::string name;
  std::optional<int> index;        // Not set: the driver picks a free device.
  std::optional<int> connections;  // Not set: as many as are useful.
  std::optional<absl::Duration> request_timeout;
  std::optional<absl::Duration> dead_connection_timeout;
  std::optional<uint32_t> block_bytes;  // Not set: 512 or the server's minimum.
  bool read_only = false;
  // Whether this is ramvol-csi, for which no device counts but its own. Those
  // are not for others.
  bool by_csi = false;
  // Attaches nothing that is not attached.
  bool must_be_attached = false;
};

// What an Attacher needs. Tests replace it.
struct AttachWorld {
  KernelNbd* kernel = nullptr;
  std::string sys = "/sys";
  int cpus = 1;
  // Makes a new connection to the volume's NBD server.
  std::function<absl::StatusOr<NbdConnection>()> connect;
  // Asks for the volume's present uid.
  std::function<absl::StatusOr<std::string>()> find_uid;
  // Shows a remark to a person who watches.
  std::function<void(const std::string&)> remark;
  std::function<absl::Time()> now;
  const std::atomic<bool>* interrupted = nullptr;
};

// Not thread-safe.
class Attacher {
 public:
  Attacher(AttachWorld world, AttachRequest request);

  // Makes sure that the volume is attached, and returns the device's index. If
  // a device holds this very volume already, its dead connections are replaced.
  // Its size stays.
  //
  // FAILED_PRECONDITION, reason DEVICE_BUSY: the device holds something else,
  // or ramvol-csi has attached the volume; reason NOT_ATTACHED: none holds the
  // volume, as one must.
  // ABORTED, reason VOLUME_REPLACED: the device holds an earlier volume of this
  // name, whose content is gone. New connections would mix both contents.
  absl::StatusOr<int> Attach();

  // Whether the volume was attached before Attach.
  bool reattached() const { return reattached_; }

  // Replaces dead connections of the device until the device is detached or
  // this is interrupted. Neither is an error. Call KernelNbd::Listen before
  // Attach, and this after it: dead connections count from Listen on.
  //
  // DEADLINE_EXCEEDED, reason CONNECTION_LOST: all connections were dead for so
  // long that the driver has given up. Other errors are those of Attach that
  // another attempt would not change.
  absl::Status Monitor();

 private:
  absl::StatusOr<std::optional<NbdDevice>> FindAttached() const;
  absl::Status CheckNotForPods() const;
  absl::Status CheckHolds(const NbdDevice& device) const;
  absl::StatusOr<std::vector<NbdConnection>> Connect(int wanted) const;
  absl::StatusOr<std::vector<NbdConnection>> ConnectToKnown(int wanted) const;
  absl::StatusOr<int> AttachNew();
  absl::Status Reattach(const NbdDevice& device, int connections);
  absl::Status Mend(const NbdDevice& device, int dead);
  bool Holds(const NbdDevice& device) const;
  absl::Duration Patience() const;
  absl::Status Lost(const absl::Status& cause) const;

  const AttachWorld world_;
  const AttachRequest request_;
  std::string uid_;
  int index_ = -1;
  bool reattached_ = false;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_ATTACH_ATTACHER_H_
