// The little that a service and systemd say to each other: sd_notify(3) and
// sd_listen_fds(3), without libsystemd.
#ifndef RAMVOL_BASE_SYSTEMD_H_
#define RAMVOL_BASE_SYSTEMD_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace ramvol {

// A socket that systemd, or a client such as nbdcopy, passed to this process.
struct SystemdSocket {
  int fd = -1;
  std::string name;  // FileDescriptorName= of the .socket unit; may be "".
};

// By the values of the variables LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES,
// null when unset. None when they are meant for another process.
std::vector<SystemdSocket> SystemdSockets(const char* pid, const char* fds,
                                          const char* names);

// Makes a socket that was passed ready to be accepted from: it does not block
// and is not inherited. UNAVAILABLE when it is no listening stream socket.
absl::Status PrepareSystemdSocket(int fd);

// Where a socket listens, as users write it: "127.0.0.1:7420", "[::1]:7420",
// "unix:PATH", "vsock:PORT"; "systemd" when it does not say.
std::string SocketAddress(int fd);

// Sends `state`, such as "READY=1\nSTATUS=…", to the socket that NOTIFY_SOCKET
// names: a path, or "@NAME" for an abstract one. Does nothing when it is "".
// Never blocks. UNAVAILABLE says why nobody got it.
absl::Status NotifySystemd(std::string_view socket, std::string_view state);

}  // namespace ramvol

#endif  // RAMVOL_BASE_SYSTEMD_H_
