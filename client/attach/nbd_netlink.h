// The way to the kernel's nbd driver: its family of generic netlink messages.
#ifndef RAMVOL_CLIENT_ATTACH_NBD_NETLINK_H_
#define RAMVOL_CLIENT_ATTACH_NBD_NETLINK_H_

#include <netlink/msg.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace ramvol {

// A connection to the driver. KernelNbd knows what to say over it; tests have
// one of their own. Not thread-safe.
class NbdNetlink {
 public:
  virtual ~NbdNetlink() = default;

  // The number that the family "nbd" has in this kernel.
  virtual int family() const = 0;

  // Sends the message and returns the messages that came back, whole. An error
  // of the driver is a FileError (base/file_error.h).
  virtual absl::StatusOr<std::vector<std::string>> Call(nl_msg* message) = 0;

  // From here on, Events returns what the driver tells everyone.
  virtual absl::Status Listen() = 0;
  // Waits until there are some, `timeout` is over or a signal comes. DATA_LOSS:
  // there were more than could be kept; they are gone.
  virtual absl::StatusOr<std::vector<std::string>> Events(
      absl::Duration timeout) = 0;
};

// FAILED_PRECONDITION, reason NO_NBD_DRIVER: the driver is not loaded.
absl::StatusOr<std::unique_ptr<NbdNetlink>> OpenNbdNetlink();

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_ATTACH_NBD_NETLINK_H_
