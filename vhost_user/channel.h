// Messages over a connected Unix socket.
#ifndef RAMVOL_VHOST_USER_CHANNEL_H_
#define RAMVOL_VHOST_USER_CHANNEL_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vhost_user/protocol/message.h"

namespace ramvol::vhost {

// Borrows `fd`, a blocking socket; whoever shuts it down ends calls under way.
// One thread at a time.
//
// Waits for a message, and takes the descriptors that come with it. nullopt
// when the peer has ended or the socket was shut down. INVALID_ARGUMENT from
// CheckHeader, or when more than kMaxDescriptors came.
absl::StatusOr<std::optional<Message>> Receive(int fd);

// False when the connection is broken. With `wait` false, also when there is no
// room at once.
[[nodiscard]] bool Send(int fd, const Message& message, bool wait);

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_CHANNEL_H_
