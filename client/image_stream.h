// The images of volumes on their way from and to a server.
#ifndef RAMVOL_CLIENT_IMAGE_STREAM_H_
#define RAMVOL_CLIENT_IMAGE_STREAM_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ramvol/v1/block_service.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol {

// What Client::Save answers with. Destroying it ends the call. One thread at a
// time may call Next; Cancel may be called by any.
class ImageReader {
 public:
  virtual ~ImageReader() = default;

  // What is known before the first byte.
  virtual const v1::SaveInfo& info() const = 0;
  // Sets `*data` to the next bytes of the image; false when all came. Errors as
  // BlockService.Save; CANCELLED after Cancel. Nothing is tried again.
  virtual absl::StatusOr<bool> Next(std::string* data) = 0;
  virtual void Cancel() = 0;
};

// What Client::Restore answers with. Destroying it before Finish ends the call,
// and nothing is restored. One thread at a time may call Write and Finish;
// Cancel may be called by any.
class ImageWriter {
 public:
  virtual ~ImageWriter() = default;

  // Sends the next bytes of the images. At least one, and at most 4 MiB. An
  // error is the server's answer: do not go on.
  virtual absl::Status Write(std::string data) = 0;
  // All was written: the volume that it made.
  virtual absl::StatusOr<v1::Volume> Finish() = 0;
  virtual void Cancel() = 0;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_IMAGE_STREAM_H_
