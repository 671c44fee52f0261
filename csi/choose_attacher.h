// How this node's volumes become devices: which DeviceAttacher, and why.
#ifndef RAMVOL_CSI_CHOOSE_ATTACHER_H_
#define RAMVOL_CSI_CHOOSE_ATTACHER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/attach/nbd_netlink.h"
#include "client/client.h"
#include "csi/command.h"
#include "csi/device_attacher.h"
#include "csi/mounter.h"

namespace ramvol::csi_driver {

enum class AttachWay {
  kAuto,  // kNbd where the kernel has a driver that is new enough, else kFuse.
  kNbd,
  kFuse,
};

struct AttachOptions {
  AttachWay way = AttachWay::kAuto;
  // ramvold's address, beside which NBD is looked for.
  std::string server;
  // Where NBD is served; "": where ramvold says.
  std::string nbd;
  // How long requests of devices wait for a lost ramvold.
  absl::Duration reconnect_timeout = absl::Minutes(10);
  // Where FUSE mounts files; it exists.
  std::string state_dir;
  // Starts a process that serves such a file.
  Command serve_command;
  // This process was number 1, of a container with process numbers of its own.
  bool was_init = false;
};

// What there is on the node. Tests replace it.
struct AttachNode {
  std::function<absl::StatusOr<std::unique_ptr<NbdNetlink>>()> open_netlink =
      OpenNbdNetlink;
  std::string sys = "/sys";
  std::string proc = "/proc";
};

struct ChosenAttacher {
  std::unique_ptr<DeviceAttacher> attacher;
  // Why this way, and what that means for devices.
  std::string reason;
};

// Borrows `commands` and `mounter`. Devices of an earlier process are cared for
// from now on, also those that it attached in the other way.
//
// A way that is asked for is taken, also where it is not to be had: then Attach
// says what is missing.
ChosenAttacher ChooseAttacher(const Client& client,
                              const AttachOptions& options,
                              CommandRunner* commands, const Mounter* mounter,
                              const AttachNode& node = {});

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_CHOOSE_ATTACHER_H_
