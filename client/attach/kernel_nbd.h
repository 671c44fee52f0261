// Requests to the kernel's nbd driver.
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

// Settings of a device: see linux/nbd-netlink.h. A setting that is not given
// stays as it is, or gets the driver's default.
struct NbdDeviceSettings {
  std::optional<int> index;  // The N of /dev/nbdN. Not set: any free device.
  std::optional<uint64_t> size_bytes;
  std::optional<uint32_t> block_bytes;  // 512 to 4096, a power of 2.
  // A request that takes longer makes its connection dead. Whole seconds.
  std::optional<absl::Duration> request_timeout;
  // How long requests wait for a connection when all are dead. Whole seconds.
  std::optional<absl::Duration> dead_connection_timeout;
  std::optional<uint16_t> server_flags;
  // The driver keeps this text, and compares it when the device is
  // reconfigured.
  // "" means none.
  std::string backend;
  std::vector<int> sockets;
};

using NetlinkMessage = std::unique_ptr<nl_msg, decltype(&nlmsg_free)>;

// `command` is NBD_CMD_CONNECT, NBD_CMD_RECONFIGURE or NBD_CMD_DISCONNECT.
// RESOURCE_EXHAUSTED when the settings do not fit into a message.
absl::StatusOr<NetlinkMessage> MakeNbdMessage(
    int family, uint8_t command, const NbdDeviceSettings& settings);

// Borrows the netlink connection, which must outlive it. Not thread-safe. An
// error of the driver is a FileError (base/file_error.h).
class KernelNbd {
 public:
  explicit KernelNbd(NbdNetlink* netlink) : netlink_(netlink) {}

  // Connects a device, and returns its index. The driver takes references to
  // the sockets. The caller still closes its own.
  absl::StatusOr<int> Connect(const NbdDeviceSettings& settings);

  // Replaces as many dead connections as there are sockets. The driver does not
  // keep sockets that it does not need.
  absl::Status Reconfigure(const NbdDeviceSettings& settings);

  // Fails the requests under way, tells the server, and frees the device. Does
  // nothing if the device is free.
  absl::Status Disconnect(int index);

  // Begins to count dead connections, for CountDead.
  absl::Status Listen();
  // Waits up to `timeout` for connections of the device to die. Returns how
  // many died since the last call, or -1 if that is unknown. In that case, the
  // caller should try to replace all connections.
  absl::StatusOr<int> CountDead(int index, absl::Duration timeout);

 private:
  NbdNetlink* const netlink_;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_ATTACH_KERNEL_NBD_H_
