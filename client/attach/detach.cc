#include "client/attach/detach.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file_error.h"
#include "base/reason.h"
#include "client/attach/kernel_nbd.h"
#include "client/attach/nbd_devices.h"

namespace ramvol {
namespace {

constexpr absl::Duration kLookInterval = absl::Milliseconds(20);

absl::Status NotAttached(const std::string& message) {
  return WithReason(absl::FailedPreconditionError(message), "NOT_ATTACHED");
}

// While the device is open exclusively, nobody can mount it.
absl::StatusOr<int> OpenAlone(const std::string& path) {
  int fd = open(path.c_str(), O_RDWR | O_EXCL | O_CLOEXEC);
  if (fd < 0 && (errno == EROFS || errno == EACCES)) {
    fd = open(path.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC);
  }
  if (fd >= 0) return fd;
  if (errno == EBUSY) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat(
            path, " is in use; unmount it first, or lose what was not yet ",
            "written with --force")),
        "DEVICE_BUSY");
  }
  return FileError(errno, absl::StrCat("cannot open ", path));
}

absl::Status Flush(int fd, const std::string& path) {
  if (fsync(fd) == 0) return absl::OkStatus();
  return FileError(errno,
                   absl::StrCat("cannot write out ", path,
                                "; attach it again if its server is back, or ",
                                "lose what was not yet written with --force"));
}

absl::Status WaitUntilFree(const DetachOptions& options) {
  const absl::Time end = absl::Now() + options.free_timeout;
  while (FindNbdDevice(options.sys, options.index).has_value()) {
    if (absl::Now() >= end) {
      return WithReason(
          absl::DeadlineExceededError(absl::StrCat(
              NbdDevicePath(options.index), " is disconnected, but another ",
              "program still has it open; it is free once that closes it")),
          "DEVICE_BUSY");
    }
    absl::SleepFor(kLookInterval);
  }
  return absl::OkStatus();
}

absl::Status FlushAndDisconnect(KernelNbd* kernel,
                                const DetachOptions& options) {
  const std::string path = absl::StrCat(options.dev, "/nbd", options.index);
  absl::StatusOr<int> fd = OpenAlone(path);
  if (!fd.ok()) return fd.status();
  const auto closer = absl::MakeCleanup([&fd] { close(*fd); });
  if (options.flush) {
    absl::Status flushed = Flush(*fd, path);
    if (!flushed.ok()) return flushed;
  }
  return kernel->Disconnect(options.index);
}

}  // namespace

absl::StatusOr<int> FindDeviceOfVolume(const std::string& sys,
                                       const std::string& name) {
  std::vector<std::string> paths;
  std::string of_pods;
  int index = 0;
  for (const NbdDevice& device : AttachedNbdDevices(sys)) {
    const std::optional<NbdBackend> backend = ParseNbdBackend(device.backend);
    if (!backend.has_value() || backend->name != name) continue;
    if (backend->by_csi) {
      of_pods = NbdDevicePath(device.index);
      continue;
    }
    index = device.index;
    paths.push_back(NbdDevicePath(index));
  }
  if (paths.size() == 1) return index;
  if (paths.empty() && !of_pods.empty()) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat(
            "ramvol-csi has attached volume \"", name, "\" for pods; delete ",
            "them, or, if the driver is gone, detach ", of_pods)),
        "DEVICE_BUSY");
  }
  if (paths.empty()) {
    return NotAttached(
        absl::StrCat("volume \"", name, "\" is not attached to this host"));
  }
  return NotAttached(absl::StrCat("volume \"", name, "\" is attached as ",
                                  absl::StrJoin(paths, " and "),
                                  "; say which one is meant"));
}

absl::Status DetachNbd(KernelNbd* kernel, const DetachOptions& options) {
  if (!FindNbdDevice(options.sys, options.index).has_value()) {
    return NotAttached(
        absl::StrCat(NbdDevicePath(options.index), " is not attached"));
  }
  absl::Status status = options.force ? kernel->Disconnect(options.index)
                                      : FlushAndDisconnect(kernel, options);
  if (status.ok()) status = WaitUntilFree(options);
  // Whoever forces it knows that it may be in use.
  return options.force && absl::IsDeadlineExceeded(status) ? absl::OkStatus()
                                                           : status;
}

}  // namespace ramvol
