// A file that is read again when it changes.
#ifndef RAMVOL_SERVER_ACCESS_WATCHED_FILE_H_
#define RAMVOL_SERVER_ACCESS_WATCHED_FILE_H_

#include <sys/stat.h>

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace ramvol::access {

// Notices a change by what stat says, links followed. So it notices whatever is
// written, renamed or mounted over the file, and links that are exchanged, as
// Kubernetes does it. Not thread-safe.
class WatchedFile {
 public:
  static constexpr size_t kMaxBytes = size_t{4} << 20;

  explicit WatchedFile(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }

  // The content, if it may differ from what the call before gave; nullopt if
  // not, or if somebody is writing it just now. An error comes once for each
  // change, too, and begins with the path.
  std::optional<absl::StatusOr<std::string>> ReadIfChanged();

 private:
  struct Mark {
    int error = 0;
    dev_t device = 0;
    ino_t inode = 0;
    off_t bytes = 0;
    timespec modified = {};
    timespec changed = {};

    bool operator==(const Mark& other) const;
  };

  Mark Look() const;

  const std::string path_;
  std::optional<Mark> seen_;
};

}  // namespace ramvol::access

#endif  // RAMVOL_SERVER_ACCESS_WATCHED_FILE_H_
