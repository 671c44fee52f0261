// Statuses for failed system calls and for waits that a signal ended.
#ifndef RAMVOL_BASE_FILE_ERROR_H_
#define RAMVOL_BASE_FILE_ERROR_H_

#include <string>

#include "absl/status/status.h"

namespace ramvol {

// A failed system call on a local file. The text is `message` and the text of
// `error`, an errno value; the reason is the errno's name. The code is always
// UNKNOWN, so that a missing file is not taken for a missing volume, nor a full
// disk for a full server.
absl::Status FileError(int error, const std::string& message);
// True for the FileError of a pipe whose reader is gone.
bool IsBrokenPipe(const absl::Status& status);

// SIGINT or SIGTERM ended the work: CANCELLED, reason INTERRUPTED.
absl::Status InterruptedError();

}  // namespace ramvol

#endif  // RAMVOL_BASE_FILE_ERROR_H_
