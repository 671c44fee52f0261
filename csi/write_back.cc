#include "csi/write_back.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/file_descriptor.h"
#include "csi/device_attacher.h"
#include "csi/mounter.h"
#include "csi/volume_handle.h"
#include "csi/volumes.h"

namespace ramvol::csi_driver {

absl::Status Sync(const std::string& path, bool is_device,
                  const std::function<bool()>& is_it) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.is_open() && !is_it()) {
    return absl::UnavailableError(
        absl::StrCat(path, " was unmounted just now; try again"));
  }
  // A device has no file system that syncfs could write.
  if (file.is_open() &&
      (is_device ? fsync(file.get()) : syncfs(file.get())) == 0) {
    return absl::OkStatus();
  }
  return absl::InternalError(absl::StrCat(path, ": ", std::strerror(errno)));
}

absl::Status WriteBack::Flush(const std::string& handle,
                              absl::Time deadline) const {
  const auto attached = attacher_->Find(NameOfHandle(handle));
  if (!attached.has_value() || attached->device.empty()) {
    return absl::OkStatus();
  }
  // What a dead device has not written is lost; the volume is as after a crash.
  if (!attached->alive) return absl::OkStatus();
  std::string path = attached->device;
  for (const Mount& mount : mounter_->List()) {
    if (mount.source != attached->device) continue;
    path = mount.target;
    break;
  }
  // Writing waits for ramvold, for longer than any call, so ask it first.
  absl::Status done = volumes_->client().GetServerInfo().status();
  if (done.ok()) {
    const bool is_device = path == attached->device;
    // A copy, for what goes on beyond this call.
    const auto is_it = [mounter = *mounter_, path, is_device,
                        device = attached->device] {
      const auto mount = mounter.Find(path);
      return is_device || (mount.has_value() && mount->source == device);
    };
    done = flushes_.Run(
        handle,
        [path, is_device, is_it] { return Sync(path, is_device, is_it); },
        deadline);
  }
  if (done.ok()) return done;
  return {done.code(), absl::StrCat("the caches of volume \"", handle,
                                    "\" could not be written back: ",
                                    std::string(done.message()))};
}

}  // namespace ramvol::csi_driver
