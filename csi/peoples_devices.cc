#include "csi/peoples_devices.h"

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/attach/nbd_devices.h"
#include "csi/device_attacher.h"

namespace ramvol::csi_driver {

absl::Status CheckNotPeoples(const std::string& sys,
                             const DeviceVolume& volume) {
  const std::optional<NbdDevice> device =
      FindNbdDeviceOf(sys, volume.uid, /*by_csi=*/false);
  if (!device.has_value()) return absl::OkStatus();
  const std::string path = NbdDevicePath(device->index);
  return absl::FailedPreconditionError(absl::StrCat(
      "somebody has attached volume \"", volume.name, "\" by hand, as ", path,
      ", and two devices would not see what the other one writes; unmount ",
      "it and run \"ramvol detach ", path, "\" on this node"));
}

}  // namespace ramvol::csi_driver
