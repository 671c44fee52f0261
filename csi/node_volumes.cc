#include "csi/node_volumes.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/event_log.h"
#include "base/log_line.h"
#include "csi/condition.h"
#include "csi/device_attacher.h"
#include "csi/device_size.h"
#include "csi/file_system.h"
#include "csi/formatter.h"
#include "csi/mount_target.h"
#include "csi/mounter.h"
#include "csi/parameters.h"
#include "csi/stopped_file_system.h"
#include "csi/volume_handle.h"
#include "csi/volumes.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {
namespace {

absl::Status PathError(const std::string& path, int error) {
  return absl::InternalError(absl::StrCat(path, ": ", std::strerror(error)));
}

Usage MakeUsage(uint64_t unit, uint64_t total, uint64_t free,
                uint64_t available) {
  return {unit * total, unit * (total - free), unit * available};
}

bool IsWritable(const v1::Volume& volume, const Access& access) {
  return !access.read_only && !volume.read_only();
}

absl::Status StoppedAndInUse(const v1::Volume& volume) {
  return absl::FailedPreconditionError(absl::StrCat(
      "the file system of volume \"", HandleOf(volume),
      "\" has stopped after I/O errors; delete all pods that use it"));
}

absl::Status DeadAndInUse(const v1::Volume& volume) {
  return absl::FailedPreconditionError(absl::StrCat(
      "the device of volume \"", HandleOf(volume),
      "\" has lost ramvold for good; delete the pods that use it"));
}

}  // namespace

absl::StatusOr<v1::Volume> NodeVolumes::FindOrRecreate(
    const std::string& handle, const Access& access) {
  absl::StatusOr<v1::Volume> volume = volumes_->Find(handle);
  if (!absl::IsNotFound(volume.status()) || !access.recreate.has_value()) {
    return volume;
  }
  volume =
      volumes_->Create({.handle = handle,
                        .parameters = *access.recreate,
                        .size = {.required_bytes = access.recreate->size_bytes},
                        .source = "",
                        .ephemeral_target = "",
                        .recreated = true});
  if (!volume.ok()) return volume;
  ++recreated_;
  const std::string& image = access.recreate->image;
  LogEvent(Event::kDataLoss,
           {.volume = handle,
            .reason = "recreated",
            .message = absl::StrCat(
                "ramvold has no such volume, so it is made anew: ",
                image.empty() ? "empty" : absl::StrCat("a clone of ", image))});
  return volume;
}

absl::StatusOr<std::string> NodeVolumes::Attach(const v1::Volume& volume,
                                                bool read_only,
                                                absl::Time deadline) {
  const auto present = attacher_->Find(volume.name());
  const bool is_new = !present.has_value();
  // Else the pod's device node would be the next volume's.
  if (!is_new && present->uid != volume.uid() &&
      mounter_->IsMounted(present->device)) {
    return DeadAndInUse(volume);
  }
  const absl::Time begin = absl::Now();
  auto device =
      attacher_->Attach({.name = volume.name(),
                         .uid = volume.uid(),
                         .read_only = read_only || volume.read_only()},
                        deadline);
  if (is_new && device.ok()) {
    attach_times_.Record(absl::ToInt64Nanoseconds(absl::Now() - begin));
  }
  return device;
}

absl::StatusOr<bool> NodeVolumes::IsStopped(const csi_driver::Mount& mount,
                                            absl::Time deadline) const {
  if (mount.stopped || mount.read_only) return mount.stopped;
  const absl::Status writes = checks_.Run(
      mount.source, [path = mount.target] { return CheckWrites(path); },
      deadline);
  if (absl::IsDataLoss(writes)) return true;
  if (!writes.ok()) return writes;
  return false;
}

bool NodeVolumes::HasStopped(const AttachedDevice& attached,
                             absl::Time deadline) const {
  for (const csi_driver::Mount& mount : mounter_->List()) {
    if (mount.source == attached.device && !mount.read_only) {
      return MayHaveStopped(mount) &&
             IsStopped(mount, deadline).value_or(false);
    }
  }
  return false;
}

absl::StatusOr<bool> NodeVolumes::IsStaged(const v1::Volume& volume,
                                           const std::string& staging,
                                           absl::Time deadline) const {
  const std::optional<csi_driver::Mount> mount = mounter_->Find(staging);
  if (!mount.has_value()) return false;
  const auto attached = attacher_->Find(volume.name());
  if (!attached.has_value() || !mount->Holds(attached->device)) {
    return absl::AlreadyExistsError(
        absl::StrCat(mount->source, " is mounted at ", staging));
  }
  const bool alive = attached->alive && attached->uid == volume.uid();
  if (alive) {
    const absl::StatusOr<bool> stopped = IsStopped(*mount, deadline);
    if (!stopped.ok()) return stopped.status();
    if (!*stopped) return true;
  }
  if (IsTaken(volume, attached->device, staging)) {
    return alive ? StoppedAndInUse(volume) : DeadAndInUse(volume);
  }
  const absl::Status unmounted = mounter_->Unmount(staging, deadline);
  if (!unmounted.ok()) return unmounted;
  return false;
}

absl::Status NodeVolumes::Stage(const std::string& handle,
                                const std::string& staging,
                                const Access& access, absl::Time deadline) {
  const auto volume = FindOrRecreate(handle, access);
  if (!volume.ok()) return volume.status();
  return EnsureStaged(*volume, staging, access, deadline).status();
}

absl::StatusOr<std::string> NodeVolumes::EnsureStaged(
    const v1::Volume& volume, const std::string& staging, const Access& access,
    absl::Time deadline) {
  if (!access.block) {
    const absl::StatusOr<bool> staged = IsStaged(volume, staging, deadline);
    if (!staged.ok()) return staged.status();
    const auto mount = mounter_->Find(staging);
    if (*staged && mount.has_value()) {
      // A call that was interrupted may have mounted it, and no more.
      // Pods that have it go on with what there is, and so does this one.
      if (!CheckExclusive(mount->source, staging, staging).ok()) {
        return mount->source;
      }
      const absl::Status filled =
          IsWritable(volume, access) && !mount->read_only
              ? FillDevice(*mount, deadline)
              : absl::OkStatus();
      if (filled.ok()) return mount->source;
      // Its pod may have it, or nothing gets through to it.
      if (!LabelOf(volume, label::kEphemeral).empty() ||
          absl::IsUnavailable(filled) || absl::IsAborted(filled)) {
        return filled;
      }
      const absl::Status unmounted = mounter_->Unmount(staging, deadline);
      if (!unmounted.ok()) return unmounted;
    }
  }
  if (access.block && IsWritable(volume, access)) {
    const absl::Status theirs = formatter_.HandOver(volume);
    if (!theirs.ok()) return theirs;
  }
  // A journal has to be replayed also where pods may only read.
  auto device = Attach(volume, access.block && access.read_only, deadline);
  if (!device.ok() || access.block) return device;
  const absl::Status mounted =
      Mount(volume, *device, staging, access, deadline);
  if (!mounted.ok()) return mounted;
  return device;
}

absl::Status NodeVolumes::Mount(const v1::Volume& volume,
                                const std::string& device,
                                const std::string& target, const Access& access,
                                absl::Time deadline) {
  const bool writable = IsWritable(volume, access);
  const auto prepared = formatter_.Prepare(
      volume, device, {.type = access.fs_type, .make = writable}, deadline);
  if (!prepared.ok()) return prepared.status();
  const absl::Status made = MakeTarget(target, TargetKind::kFolder);
  if (!made.ok()) return made;
  std::vector<std::string> options = MountOptionsFor(prepared->type);
  options.insert(options.end(), access.mount_options.begin(),
                 access.mount_options.end());
  if (!writable) options.push_back("ro");
  const absl::Status mounted =
      mounter_->MountDevice(device, target, prepared->type, options, deadline);
  if (!mounted.ok()) return mounted;
  if (!writable || FillsDevice(prepared->size_bytes, device)) {
    return absl::OkStatus();
  }
  if (file_systems_->Grow(prepared->type, device, target, deadline).ok()) {
    return absl::OkStatus();
  }
  // The kernel may refuse what it mounts, or not know how.
  absl::Status grown = mounter_->Unmount(target, deadline);
  if (grown.ok()) {
    grown = file_systems_->GrowUnmounted(prepared->type, device, deadline);
  }
  if (!grown.ok()) return grown;
  return mounter_->MountDevice(device, target, prepared->type, options,
                               deadline);
}

absl::Status NodeVolumes::FillDevice(const csi_driver::Mount& mount,
                                     absl::Time deadline) const {
  // It reads the device, of which the cache need not have anything.
  const auto bytes = std::make_shared<uint64_t>(0);
  const absl::Status read = checks_.Run(
      mount.source,
      [bytes, file_systems = *file_systems_, device = mount.source] {
        const auto found = file_systems.Probe(device);
        if (found.ok()) *bytes = found->size_bytes;
        return found.status();
      },
      deadline);
  if (!read.ok()) return read;
  if (FillsDevice(*bytes, mount.source)) return absl::OkStatus();
  return file_systems_->Grow(mount.fs_type, mount.source, mount.target,
                             deadline);
}

bool NodeVolumes::IsTaken(const v1::Volume& volume, const std::string& device,
                          const std::string& staging) const {
  return !LabelOf(volume, label::kEphemeral).empty() ||
         !CheckExclusive(device, staging, staging).ok();
}

absl::Status NodeVolumes::Unstage(const std::string& handle,
                                  const std::string& staging,
                                  absl::Time deadline) {
  const absl::Status unmounted = Unmount(handle, staging, deadline);
  if (!unmounted.ok()) return unmounted;
  return attacher_->Detach(NameOfHandle(handle), deadline);
}

absl::Status NodeVolumes::Unmount(const std::string& handle,
                                  const std::string& path,
                                  absl::Time deadline) const {
  const auto mount = mounter_->Find(path);
  const auto attached = attacher_->Find(NameOfHandle(handle));
  const bool is_last = mount.has_value() && attached.has_value() &&
                       attached->alive && mount->source == attached->device &&
                       CheckExclusive(attached->device, path, path).ok();
  // Then the kernel writes back what is in the caches, and waits for ramvold,
  // for longer than any call.
  const absl::Status there =
      is_last ? volumes_->client().GetServerInfo().status() : absl::OkStatus();
  if (there.ok()) return mounter_->Unmount(path, deadline);
  return {there.code(),
          absl::StrCat("volume \"", handle, "\" stays mounted at ", path,
                       " until its caches can be written back: ",
                       std::string(there.message()))};
}

absl::Status NodeVolumes::CheckExclusive(const std::string& device,
                                         const std::string& staging,
                                         const std::string& target) const {
  for (const csi_driver::Mount& mount : mounter_->List()) {
    if (!mount.Holds(device) || mount.target == staging ||
        mount.target == target) {
      continue;
    }
    return absl::FailedPreconditionError(absl::StrCat(
        "the volume is for one pod, and another one has it at ", mount.target));
  }
  return absl::OkStatus();
}

absl::Status NodeVolumes::Publish(const std::string& handle,
                                  const std::string& staging,
                                  const std::string& target,
                                  const Access& access, absl::Time deadline) {
  const auto volume = FindOrRecreate(handle, access);
  if (!volume.ok()) return volume.status();
  // Does nothing if it is staged. Devices may have been lost since, or taken
  // for a remnant.
  const auto device = EnsureStaged(*volume, staging, access, deadline);
  if (!device.ok()) return device.status();
  bool read_only = access.read_only || access.read_only_mount;
  if (!access.block) {
    const auto mount = mounter_->Find(staging);
    read_only = read_only || (mount.has_value() && mount->read_only);
  }
  const auto present = mounter_->Find(target);
  if (present.has_value()) {
    if (present->Holds(*device) && present->read_only == read_only) {
      return absl::OkStatus();
    }
    // As a call leaves it that was interrupted in the middle of Bind, from
    // which a pod that may write cannot be told.
    if (present->Holds(*device) && read_only) {
      return mounter_->MakeReadOnly(target, deadline);
    }
    return absl::AlreadyExistsError(
        absl::StrCat(present->source, " is mounted at ", target,
                     present->read_only ? ", read-only" : ", to be written"));
  }
  if (access.exclusive) {
    const absl::Status alone = CheckExclusive(*device, staging, target);
    if (!alone.ok()) return alone;
  }
  const absl::Status made = MakeTarget(
      target, access.block ? TargetKind::kFile : TargetKind::kFolder);
  if (!made.ok()) return made;
  return mounter_->Bind(access.block ? *device : staging, target, read_only,
                        deadline);
}

absl::Status NodeVolumes::PublishInline(const std::string& handle,
                                        const std::string& target,
                                        const Parameters& parameters,
                                        const Access& access,
                                        absl::Time deadline) {
  const auto volume =
      volumes_->Create({.handle = handle,
                        .parameters = parameters,
                        .size = {.required_bytes = parameters.size_bytes},
                        .source = "",
                        .ephemeral_target = target});
  if (!volume.ok()) return volume.status();
  const absl::Status staged = Stage(handle, target, access, deadline);
  if (!staged.ok() || !access.read_only_mount) return staged;
  // Only now, for the file system may have to be made, or to grow, before.
  const auto mount = mounter_->Find(target);
  if (mount.has_value() && mount->read_only) return absl::OkStatus();
  return mounter_->MakeReadOnly(target, deadline);
}

absl::Status NodeVolumes::Unpublish(const std::string& handle,
                                    const std::string& target,
                                    absl::Time deadline) {
  absl::Status done = Unmount(handle, target, deadline);
  if (done.ok()) done = RemoveTarget(target);
  if (!done.ok()) return done;
  const auto volume = volumes_->Find(handle);
  if (!volume.ok()) {
    // Only of an inline volume something is left to be done: no Unstage comes.
    if (!MayBeInline(handle)) return absl::OkStatus();
    if (!absl::IsNotFound(volume.status())) return volume.status();
    // It is lost; its device is not.
    const std::string name = NameOfHandle(handle);
    const auto attached = attacher_->Find(name);
    if (!attached.has_value() || mounter_->IsMounted(attached->device))
      return absl::OkStatus();
    return attacher_->Detach(name, deadline);
  }
  if (LabelOf(*volume, label::kEphemeral).empty()) return absl::OkStatus();
  done = attacher_->Detach(volume->name(), deadline);
  if (!done.ok()) return done;
  return volumes_->Delete(handle, deadline);
}

absl::StatusOr<AttachedDevice> NodeVolumes::FindAt(
    const std::string& handle, const std::string& path) const {
  const auto mount = mounter_->Find(path);
  auto attached = attacher_->Find(NameOfHandle(handle));
  if (mount.has_value() && attached.has_value() &&
      mount->Holds(attached->device)) {
    return *std::move(attached);
  }
  return absl::NotFoundError(
      absl::StrCat("volume \"", handle, "\" is not at ", path));
}

absl::StatusOr<uint64_t> NodeVolumes::Expand(const std::string& handle,
                                             const std::string& path,
                                             const SizeRange& size,
                                             absl::Time deadline) {
  const auto attached = FindAt(handle, path);
  if (!attached.ok()) return attached.status();
  const auto volume = volumes_->Expand(handle, size);
  if (!volume.ok()) return volume.status();
  const auto bytes = static_cast<uint64_t>(volume->size_bytes());
  if (SizeOfDevice(attached->device) < bytes) {
    const absl::Status grown = attacher_->Grow(*attached, bytes);
    if (!grown.ok()) return grown;
  }
  const auto mount = mounter_->Find(path);
  if (!mount.has_value() || mount->source != attached->device) return bytes;
  const absl::Status filled = FillDevice(*mount, deadline);
  if (!filled.ok()) return filled;
  return bytes;
}

absl::StatusOr<NodeStats> NodeVolumes::Stats(const std::string& handle,
                                             const std::string& path,
                                             absl::Time deadline) const {
  const auto attached = FindAt(handle, path);
  if (!attached.ok()) return attached.status();
  const auto volume = volumes_->Find(handle);
  const bool lost = absl::IsNotFound(volume.status());
  NodeStats stats;
  stats.bytes.total = SizeOfDevice(attached->device);
  if (lost || !attached->alive ||
      (volume.ok() && attached->uid != volume->uid())) {
    stats.condition = DeadDevice();
    return stats;
  }
  // The kernel knows the rest without ramvold.
  stats.condition = volume.ok()
                        ? ConditionOf(volumes_->client(), *volume,
                                      volumes_->client().GetServerInfo())
                        : ConditionOf(volumes_->client(), {}, volume.status());
  // Only ramvold lets it write.
  if (volume.ok() && HasStopped(*attached, deadline)) {
    stats.condition = StoppedFileSystem();
    return stats;
  }
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return PathError(path, errno);
  if (S_ISBLK(info.st_mode)) return stats;
  struct statvfs fs = {};
  if (statvfs(path.c_str(), &fs) != 0) return PathError(path, errno);
  stats.bytes = MakeUsage(fs.f_frsize, fs.f_blocks, fs.f_bfree, fs.f_bavail);
  stats.inodes = MakeUsage(1, fs.f_files, fs.f_ffree, fs.f_favail);
  return stats;
}

std::string NodeVolumes::TrimAll(std::string last, absl::Time deadline) const {
  const std::vector<csi_driver::Mount> mounts = mounter_->List();
  std::vector<AttachedDevice> devices = attacher_->List();
  std::sort(devices.begin(), devices.end(),
            [&last](const auto& a, const auto& b) {
              return std::pair(a.name <= last, a.name) <
                     std::pair(b.name <= last, b.name);
            });
  for (const AttachedDevice& attached : devices) {
    if (absl::Now() >= deadline) break;
    last = attached.name;
    if (!attached.alive) continue;
    const auto mount = std::find_if(
        mounts.begin(), mounts.end(), [&attached](const auto& each) {
          return each.source == attached.device && !each.read_only;
        });
    if (mount != mounts.end()) {
      file_systems_->Trim(mount->target, deadline).IgnoreError();
    }
  }
  return last;
}

}  // namespace ramvol::csi_driver
