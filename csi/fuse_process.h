// The process behind a volume that is attached by FUSE.
#ifndef RAMVOL_CSI_FUSE_PROCESS_H_
#define RAMVOL_CSI_FUSE_PROCESS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/program.h"
#include "client/options.h"

namespace ramvol::csi_driver {

// What ps shows.
inline constexpr char kFuseProcessName[] = "ramvol-fuse";
// The flag that has its file.
inline constexpr char kFuseFileFlag[] = "--serve_file=";

// "NAME@UID" is the last part of the path of a volume's file.
struct FuseFileName {
  std::string volume;
  std::string uid;
};
// Empty fields if it is no such path.
FuseFileName ParseFuseFileName(const std::string& path);

// What an operation may wait for ramvold, and then for its answer.
ClientOptions PatientOptions(ClientOptions options,
                             absl::Duration reconnect_timeout);

// Mounts the volume over `file`, which exists and is empty, and serves it until
// it is unmounted, or ramvold has the volume no more. Nothing that the program
// is sent but SIGKILL ends it: what is mounted is used. In a container with the
// node's process numbers it leaves the container's cgroups, and so outlives it.
//
// NOT_FOUND, ABORTED: there is no such volume, or no more. Others: it could not
// begin.
absl::Status ServeFuseFile(Program& program, const ClientOptions& options,
                           const std::string& file);

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_FUSE_PROCESS_H_
