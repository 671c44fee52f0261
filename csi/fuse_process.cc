#include "csi/fuse_process.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/file_descriptor.h"
#include "base/program.h"
#include "client/client.h"
#include "client/options.h"
#include "client/remote_volume.h"
#include "csi/fuse_file.h"
#include "csi/node_cgroup.h"

namespace ramvol::csi_driver {
namespace {

// Long, because a change that timed out might still happen: a slow server is
// better waited for.
constexpr absl::Duration kRequestTimeout = absl::Minutes(10);
// Short: pods wait, and a try costs little.
constexpr absl::Duration kMaxBackoff = absl::Milliseconds(200);
// Twice what the kernel sends.
constexpr size_t kMaxInflightBytes =
    2 * FuseFile::kMaxBackground * FuseFile::kMaxWriteBytes;

// The volume, if it is the one that has this uid.
absl::StatusOr<RemoteVolume> OpenVolume(const Client& client,
                                        const FuseFileName& file) {
  auto volume = client.Open(file.volume);
  if (!volume.ok()) return volume;
  // Asked for afterwards: a volume that came in between has another one.
  const auto found = client.GetVolume(file.volume);
  if (!found.ok()) return found.status();
  if (found->uid() == file.uid) return volume;
  return absl::AbortedError(
      absl::StrCat("another volume has the name \"", file.volume, "\" now"));
}

absl::StatusOr<FileDescriptor> MountFuse(const std::string& file) {
  FileDescriptor fuse(open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fuse.is_open()) {
    return absl::UnavailableError(
        absl::StrCat("/dev/fuse: ", std::strerror(errno)));
  }
  // The mode, in octal, is that of a file.
  const std::string options =
      absl::StrCat("fd=", fuse.get(), ",rootmode=100000,user_id=0,group_id=0");
  if (mount("ramvol", file.c_str(), "fuse.ramvol",
            MS_NOSUID | MS_NODEV | MS_NOEXEC, options.c_str()) == 0) {
    return fuse;
  }
  return absl::InternalError(
      absl::StrCat("cannot mount ", file, ": ", std::strerror(errno)));
}

}  // namespace

FuseFileName ParseFuseFileName(const std::string& path) {
  const size_t slash = path.rfind('/');
  const size_t begin = slash == std::string::npos ? 0 : slash + 1;
  const size_t at = path.rfind('@');
  if (at == std::string::npos || at <= begin) return {};
  return {path.substr(begin, at - begin), path.substr(at + 1)};
}

ClientOptions PatientOptions(ClientOptions options,
                             absl::Duration reconnect_timeout) {
  options.reconnect_timeout = reconnect_timeout;
  options.timeout = reconnect_timeout + kRequestTimeout;
  options.max_backoff = kMaxBackoff;
  options.max_inflight_bytes = kMaxInflightBytes;
  return options;
}

absl::Status ServeFuseFile(Program& program, const ClientOptions& options,
                           const std::string& file) {
  const FuseFileName name = ParseFuseFileName(file);
  if (name.volume.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, " is not DIR/VOLUME@UID"));
  }
  prctl(PR_SET_NAME, kFuseProcessName, 0, 0, 0);
  // Memory that it asks for is not to be had by writing pages back: that would
  // wait for this very process. An old kernel does not know that.
  prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
  const absl::Status outlives =
      IsInContainerOfNode() ? EnterNodeCgroup() : absl::OkStatus();
  program.Prepare();
  const Client client(options);
  auto volume = OpenVolume(client, name);
  if (!volume.ok()) return volume.status();
  auto fuse = MountFuse(file);
  if (!fuse.ok()) return fuse.status();
  // Not before: until the file is there, what is said is why it is not.
  if (!outlives.ok()) {
    program.Log(absl::StrCat("it ends with its container: ",
                             std::string(outlives.message())));
  }
  FuseFile served(*std::move(fuse), *std::move(volume), name.volume);
  return served.Serve();
}

}  // namespace ramvol::csi_driver
