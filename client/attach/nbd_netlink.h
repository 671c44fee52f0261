// Sends generic netlink messages to the kernel's nbd driver.
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

// A connection to the driver. KernelNbd makes the messages. Tests have an
// implementation of their own. Not thread-safe.
class NbdNetlink {
 public:
  virtual ~NbdNetlink() = default;

  // This kernel's number of the family "nbd".
  virtual int family() const = 0;

  // Sends a message, and returns the messages that answer it. An error of the
  // driver is a FileError (base/file_error.h).
  virtual absl::StatusOr<std::vector<std::string>> Call(nl_msg* message) = 0;

  // From here on, Events returns the driver's broadcasts.
  virtual absl::Status Listen() = 0;
  // Waits until there are broadcasts, `timeout` has passed or a signal comes.
  // DATA_LOSS: there were too many to be kept, so some are lost.
  virtual absl::StatusOr<std::vector<std::string>> Events(
      absl::Duration timeout) = 0;
};

// FAILED_PRECONDITION, reason NO_NBD_DRIVER: the driver is not loaded.
absl::StatusOr<std::unique_ptr<NbdNetlink>> OpenNbdNetlink();

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_ATTACH_NBD_NETLINK_H_
