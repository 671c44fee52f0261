// Attaching a volume to a device of the kernel's nbd driver, and keeping it so.
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
// A request on a connection that broke is sent again only after this time: the
// driver learns nothing of its fate before.
inline constexpr absl::Duration kDefaultRequestTimeout = absl::Seconds(30);
inline constexpr absl::Duration kDefaultDeadConnectionTimeout =
    absl::Seconds(60);

struct AttachRequest {
  std::string name;
  std::optional<int> index;        // None: the driver picks a free device.
  std::optional<int> connections;  // None: as many as are of use.
  std::optional<absl::Duration> request_timeout;
  std::optional<absl::Duration> dead_connection_timeout;
  std::optional<uint32_t> block_bytes;  // None: 512, or the server's minimum.
  bool read_only = false;
};

// What an Attacher needs of the world.
struct AttachWorld {
  KernelNbd* kernel = nullptr;
  std::string sys = "/sys";
  int cpus = 1;
  // A new connection to the volume's NBD server.
  std::function<absl::StatusOr<NbdConnection>()> connect;
  // The volume's uid as of now.
  std::function<absl::StatusOr<std::string>()> find_uid;
  // A remark for a person who watches.
  std::function<void(const std::string&)> remark;
  std::function<absl::Time()> now;
  const std::atomic<bool>* interrupted = nullptr;
};

// Not thread-safe.
class Attacher {
 public:
  Attacher(AttachWorld world, AttachRequest request);

  // Makes sure that the volume is attached and returns the device's index. A
  // device that holds this very volume already gets new connections for its
  // dead ones; its size stays.
  //
  // FAILED_PRECONDITION, reason DEVICE_BUSY: the device holds something else.
  // ABORTED, reason VOLUME_REPLACED: it holds an earlier volume of this name,
  // whose content is gone; new connections would mix it with the new one's.
  absl::StatusOr<int> Attach();

  // Whether Attach found the volume attached.
  bool reattached() const { return reattached_; }

  // After Attach: gives the device new connections whenever some die, until it
  // is detached or this is interrupted; both are no error. Events count from
  // KernelNbd::Listen, which comes before Attach.
  //
  // DEADLINE_EXCEEDED, reason CONNECTION_LOST: all were dead for so long that
  // the driver has given up. Errors of Attach that trying again does not mend.
  absl::Status Monitor();

 private:
  absl::StatusOr<std::optional<NbdDevice>> FindAttached() const;
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
