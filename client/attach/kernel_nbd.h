// What one can ask of the kernel's nbd driver.
#ifndef RAMVOL_CLIENT_ATTACH_KERNEL_NBD_H_
#define RAMVOL_CLIENT_ATTACH_KERNEL_NBD_H_

#include <netlink/msg.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/attach/nbd_netlink.h"

namespace ramvol {

// What a device is to be; see linux/nbd-netlink.h. What is not set stays as it
// is, or gets the driver's default.
struct NbdDeviceSettings {
  std::optional<int> index;  // Of /dev/nbdN; none: any free one.
  std::optional<uint64_t> size_bytes;
  std::optional<uint32_t> block_bytes;  // 512 to 4096, a power of 2.
  // A request that took longer makes its connection a dead one. Whole seconds.
  std::optional<absl::Duration> request_timeout;
  // How long requests wait for a connection when all are dead. Whole seconds.
  std::optional<absl::Duration> dead_connection_timeout;
  std::optional<uint16_t> server_flags;
  // Kept by the driver, and compared when the device is reconfigured. "": none.
  std::string backend;
  std::vector<int> sockets;
};

using NetlinkMessage = std::unique_ptr<nl_msg, decltype(&nlmsg_free)>;

// `command` is NBD_CMD_CONNECT, NBD_CMD_RECONFIGURE or NBD_CMD_DISCONNECT.
// RESOURCE_EXHAUSTED when the settings do not fit into a message.
absl::StatusOr<NetlinkMessage> MakeNbdMessage(
    int family, uint8_t command, const NbdDeviceSettings& settings);

// Borrows the netlink connection, which must outlive it. Not thread-safe. What
// the driver refuses is a FileError (base/file_error.h).
class KernelNbd {
 public:
  explicit KernelNbd(NbdNetlink* netlink) : netlink_(netlink) {}

  // Returns the device's index. The driver keeps the sockets, which stay the
  // caller's to close.
  absl::StatusOr<int> Connect(const NbdDeviceSettings& settings);

  // Replaces as many dead connections as there are sockets; those that are not
  // needed are not kept.
  absl::Status Reconfigure(const NbdDeviceSettings& settings);

  // Fails what is under way, says good-bye to the server and frees the device.
  // Nothing happens to a device that is free.
  absl::Status Disconnect(int index);

  // Begins to count for CountDead.
  absl::Status Listen();
  // Waits up to `timeout` for connections of the device to die and returns how
  // many did since it was called last; -1: nobody knows, ask the kernel to
  // replace all.
  absl::StatusOr<int> CountDead(int index, absl::Duration timeout);

 private:
  NbdNetlink* const netlink_;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_ATTACH_KERNEL_NBD_H_
