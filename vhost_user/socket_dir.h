// The sockets of a folder, one for each volume.
#ifndef RAMVOL_VHOST_USER_SOCKET_DIR_H_
#define RAMVOL_VHOST_USER_SOCKET_DIR_H_

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "vhost_user/protocol/descriptor.h"

namespace ramvol::vhost {

// Only the owner may connect. In a folder with the setgid bit, whose group the
// sockets have, that group may, too.
//
// Thread-safe.
class SocketDir {
 public:
  // Makes the folder if it is missing, for the owner alone, and removes sockets
  // of servers that are gone. UNAVAILABLE when that fails.
  static absl::StatusOr<SocketDir> Open(const std::string& path);

  // DIR/NAME.sock.
  std::string PathOf(absl::string_view volume) const;

  // A non-blocking socket that listens there. Takes the place of a socket whose
  // server is gone. INVALID_ARGUMENT when the path is too long for a socket;
  // UNAVAILABLE when something else is in its place, or the system refuses.
  absl::StatusOr<Descriptor> Listen(absl::string_view volume) const;
  // Removes its file.
  void Remove(absl::string_view volume) const;

  const std::string& path() const { return path_; }

 private:
  SocketDir(std::string path, mode_t mode)
      : path_(std::move(path)), mode_(mode) {}

  std::string path_;
  mode_t mode_;  // Of the sockets.
};

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_SOCKET_DIR_H_
