// Settings of a Client.
#ifndef RAMVOL_CLIENT_OPTIONS_H_
#define RAMVOL_CLIENT_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace ramvol {

struct ClientOptions {
  // Where ramvold listens: "127.0.0.1:7420", "[::1]:7420", "unix:/path", or any
  // other target that gRPC takes.
  std::string server = "127.0.0.1:7420";
  // Connections, each with its own socket, over which a RemoteVolume stripes
  // its operations. 1 to 16.
  int channels = 2;
  // Longest time that one call may take, retries and reconnection included;
  // DEADLINE_EXCEEDED after that.
  absl::Duration timeout = absl::Seconds(60);
  // Longest time for which a lost server is waited for. Meanwhile unanswered
  // operations are kept and are sent again when it is back. 0: fail with
  // UNAVAILABLE at once.
  absl::Duration reconnect_timeout = absl::Seconds(30);
  // Pauses between attempts grow from the first to the last, with jitter.
  absl::Duration initial_backoff = absl::Milliseconds(20);
  absl::Duration max_backoff = absl::Seconds(2);
  // Most bytes of data in unanswered operations of one RemoteVolume; callers
  // beyond it wait. The server's window, when smaller, wins.
  size_t max_inflight_bytes = 64 << 20;
};

// Of Client::Open.
struct OpenOptions {
  // Open the volume only if no other client has it open, over any protocol;
  // else FAILED_PRECONDITION, reason VOLUME_ATTACHED, whose message says who.
  // Others may come later. Reconnecting does not ask again.
  bool if_unattached = false;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_OPTIONS_H_
