// A lock of an open file, against other processes.
#ifndef RAMVOL_BASE_FILE_LOCK_H_
#define RAMVOL_BASE_FILE_LOCK_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/file_descriptor.h"

namespace ramvol {

// A process that was killed keeps its locks until the kernel has freed its
// memory, which takes about a second for some gigabytes.
inline constexpr absl::Duration kLockPatience = absl::Seconds(5);

// Locks `file`, which has the name `path`, until it is closed. While another
// process has the lock, waits up to kLockPatience; calls waiting() once, before
// that. False when it is still locked then; FileError. Thread-safe.
absl::StatusOr<bool> LockFile(const FileDescriptor& file,
                              const std::string& path,
                              absl::FunctionRef<void()> waiting);
// The same, and logs that it waits.
absl::StatusOr<bool> LockFile(const FileDescriptor& file,
                              const std::string& path);

}  // namespace ramvol

#endif  // RAMVOL_BASE_FILE_LOCK_H_
