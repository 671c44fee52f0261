// Loop devices over files.
#ifndef RAMVOL_CSI_LOOP_DEVICES_H_
#define RAMVOL_CSI_LOOP_DEVICES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "csi/command.h"

namespace ramvol::csi_driver {

// The kernel says over which file a device lies, until the mount namespace in
// which that was found ends with its container: then it shows "/". So a note
// beside the file, FILE.loop, has the device's name. It is written before the
// device lies over the file, and is believed only of one that shows "/", and
// has the file's number, or gives ENOTCONN as the file's process is gone.
//
// Thread-safe for different files.
class LoopDevices {
 public:
  static constexpr char kNoteSuffix[] = ".loop";

  // Borrows `commands`.
  explicit LoopDevices(CommandRunner* commands) : commands_(commands) {}

  // The device over the file, "/dev/loop3", which may be gone or dead; "" if
  // there is none.
  std::string Find(const std::string& file) const;
  // Another one over the file. INTERNAL: losetup failed, or /dev lacks the
  // device and gets no more of them.
  absl::StatusOr<std::string> Make(const std::string& file, bool read_only,
                                   absl::Time deadline);
  // Detaches all that are over the file, and takes the note away.
  // DEADLINE_EXCEEDED: one is in use.
  absl::Status Remove(const std::string& file, absl::Time deadline);

 private:
  CommandRunner* const commands_;
  // Two at the same time would choose the same free device.
  Mutex making_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_LOOP_DEVICES_H_
