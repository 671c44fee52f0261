// How this node's volumes become devices: which DeviceAttacher, and why.
#ifndef RAMVOL_CSI_CHOOSE_ATTACHER_H_
#define RAMVOL_CSI_CHOOSE_ATTACHER_H_

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "client/client.h"
#include "csi/command.h"
#include "csi/device_attacher.h"
#include "csi/mounter.h"

namespace ramvol::csi_driver {

enum class AttachWay {
  kAuto,  // kNbd where the kernel has the driver, else kFuse.
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

struct ChosenAttacher {
  std::unique_ptr<DeviceAttacher> attacher;
  std::string reason;
};

// Borrows `commands` and `mounter`. Devices of an earlier process are cared for
// from now on, also those that it attached in the other way.
ChosenAttacher ChooseAttacher(const Client& client,
                              const AttachOptions& options,
                              CommandRunner* commands, const Mounter* mounter);

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_CHOOSE_ATTACHER_H_
