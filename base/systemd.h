// sd_notify(3) and sd_listen_fds(3) without libsystemd (docs/decisions/0032).
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

// Takes the values of LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES, null when
// unset. Returns nothing when they are meant for another process.
std::vector<SystemdSocket> SystemdSockets(const char* pid, const char* fds,
                                          const char* names);

// Makes a passed socket non-blocking and close-on-exec. UNAVAILABLE when it
// does not listen.
absl::Status PrepareSystemdSocket(int fd);

// Where a socket listens, as users write it: "127.0.0.1:7420", "[::1]:7420",
// "unix:PATH", "vsock:PORT"; "systemd" when that is unknown.
std::string SocketAddress(int fd);

// Sends `state`, such as "READY=1
//
// STATUS=…", to the socket that NOTIFY_SOCKET names: a path, or "@NAME" for an
// abstract socket. Does nothing when that is "". Never blocks. UNAVAILABLE says
// why sending failed.
absl::Status NotifySystemd(std::string_view socket, std::string_view state);

// Returns whether `fd` leads to the journal. `journal_stream` is the value of
// JOURNAL_STREAM, or null when that is unset.
bool IsJournal(const char* journal_stream, int fd);

}  // namespace ramvol

#endif  // RAMVOL_BASE_SYSTEMD_H_
