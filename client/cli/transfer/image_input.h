// A file, and what it lies on, as the images that a server restores.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_IMAGE_INPUT_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_IMAGE_INPUT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/local_file.h"
#include "qcow2/format.h"

namespace ramvol::cli {

enum class ImageFormat { kAuto, kQcow2, kRaw };

// Images as ramvol saved them go to the server as they are, the bottom of a
// chain first, if their format is not given. Any other chain of qcow2 and raw
// files becomes one such image, on the way. Not thread-safe.
class ImageInput {
 public:
  virtual ~ImageInput() = default;

  // Of all that comes; 0: not known.
  virtual int64_t total_bytes() const = 0;
  // They go over as ramvol saved them, so that the server can check all.
  virtual bool as_written() const = 0;
  // Appends the next bytes to `*out`, about a MiB; none at the end.
  virtual absl::Status Read(std::string* out) = 0;

  // Opens `file`, which is at `path`, "-" for a pipe. FileErrors; those of
  // ParseHeader; FAILED_PRECONDITION, reason FOREIGN_IMAGE, when only a file
  // can be read at any offset and this one cannot, and for backing files that
  // are no local ones.
  static absl::StatusOr<std::unique_ptr<ImageInput>> Open(
      LocalFile file, const std::string& path, ImageFormat format,
      const std::atomic<bool>& interrupted);
};

// The path of the file that an image at `path` names as its backing file.
std::string BackingPath(const std::string& path, const std::string& name);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_IMAGE_INPUT_H_
