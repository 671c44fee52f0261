// The content of volumes and files, for reading.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_CONTENT_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_CONTENT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/local_file.h"
#include "client/remote_volume.h"

namespace ramvol::cli {

// A byte array. Reads only the parts that hold data, in order. Not thread-safe.
class Content {
 public:
  virtual ~Content() = default;

  // For messages.
  virtual const std::string& name() const = 0;
  virtual int64_t size_bytes() const = 0;

  struct Piece {
    int64_t offset = 0;
    std::string_view data;  // Valid until the next Next. Empty at the end.
  };
  // The next piece of data. The bytes between pieces, and after the last one,
  // are zero. Pieces may hold zeroes, too.
  virtual absl::StatusOr<Piece> Next() = 0;
};

std::unique_ptr<Content> ContentOfVolume(std::string name,
                                         const RemoteVolume& volume,
                                         int64_t size_bytes);
// `file` is open for reading and has random access.
std::unique_ptr<Content> ContentOfFile(LocalFile file);

// Compares two contents. OK when they are equal. FAILED_PRECONDITION, reason
// CONTENT_DIFFERS, tells the sizes, or the first offset at which the contents
// differ. The metadata has that offset, too. InterruptedError once
// `interrupted` is set.
absl::Status Compare(Content& a, Content& b,
                     const std::atomic<bool>& interrupted);

// A checksum of 128 bits over size and data, in hexadecimal digits. Holes do
// not matter: they count as zeroes. The checksum finds accidents, not attacks.
// InterruptedError once `interrupted` is set.
absl::StatusOr<std::string> Checksum(Content& content,
                                     const std::atomic<bool>& interrupted);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_CONTENT_H_
