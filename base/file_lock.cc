#include "base/file_lock.h"

#include <sys/file.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/duration_text.h"
#include "base/event_log.h"
#include "base/file_error.h"

namespace ramvol {
namespace {

constexpr absl::Duration kRetry = absl::Milliseconds(50);

}  // namespace

absl::StatusOr<bool> LockFile(const FileDescriptor& file,
                              const std::string& path,
                              absl::FunctionRef<void()> waiting) {
  const absl::Time end = absl::Now() + kLockPatience;
  for (bool first = true;; first = false) {
    if (flock(file.get(), LOCK_EX | LOCK_NB) == 0) return true;
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) {
      return FileError(errno, absl::StrCat("cannot lock ", path));
    }
    if (first) waiting();
    if (absl::Now() >= end) return false;
    absl::SleepFor(kRetry);
  }
}

absl::StatusOr<bool> LockFile(const FileDescriptor& file,
                              const std::string& path) {
  return LockFile(file, path, [&] {
    LogEvent(Event::kNote,
             {.message = absl::StrCat(
                  "another process has ", path, " locked; waiting up to ",
                  DurationText(kLockPatience),
                  ", for it may be one that was killed and is ending")});
  });
}

}  // namespace ramvol
