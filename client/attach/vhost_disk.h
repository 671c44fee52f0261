// How a virtual machine on the server's host gets a volume by vhost-user, and
// how that is written for it.
#ifndef RAMVOL_CLIENT_ATTACH_VHOST_DISK_H_
#define RAMVOL_CLIENT_ATTACH_VHOST_DISK_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace ramvol {

// The path of the socket of `volume`, or of a snapshot with "@" before its
// name. `dir` is the server's --vhost_user_dir, `grpc_server` the address at
// which gRPC was reached.
//
// FAILED_PRECONDITION, reason NO_VHOST_USER, if `dir` is empty or the server is
// not on this host.
absl::StatusOr<std::string> VhostSocket(const std::string& dir,
                                        std::string_view grpc_server,
                                        const std::string& volume);

// A disk, and the whole machine's memory, which the server maps.
struct VhostDisk {
  std::string volume;
  std::string socket;
  // A multiple of 1 MiB. 0 for a machine whose memory is shared already, such
  // as for its second disk.
  int64_t memory_bytes = 0;
};

// Arguments, quoted for a shell.
std::string QemuVhostDisk(const VhostDisk& disk);
std::string CloudHypervisorVhostDisk(const VhostDisk& disk);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_ATTACH_VHOST_DISK_H_
