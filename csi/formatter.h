// Whether a volume may be formatted, and formatting it.
#ifndef RAMVOL_CSI_FORMATTER_H_
#define RAMVOL_CSI_FORMATTER_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "csi/file_system.h"
#include "csi/volumes.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {

// What a pod wants to find in a volume.
struct WantedFileSystem {
  std::string type;  // "": ext4, or what there is.
  // Else an empty volume stays so.
  bool make = true;
};

// Nothing that somebody wrote is ever formatted. Two labels of ramvold's volume
// remember what this did, so that it can be interrupted anywhere:
//
//   neither                may be formatted if all of it is a hole
//   label::kFormatting     mkfs was begun: what there is may be formatted anew
//   label::kFormatted      never to be formatted again, whatever it holds
//
// Whatever a pod gets to write to is label::kFormatting no longer, also under
// another name than the one that mkfs was begun under, where the label does not
// count: it would count again under that name.
//
// Borrows all that it is given. Thread-safe for different volumes.
class Formatter {
 public:
  Formatter(const Volumes* volumes, const FileSystems* file_systems)
      : volumes_(volumes), file_systems_(file_systems) {}

  // The file system in `device`, ready to be mounted. One is made in a volume
  // that may be formatted. One that is there is repaired, and gets a UUID of
  // its own when the volume is a copy, unless ramvold lets nobody write to it.
  // Its size is UINT64_MAX if it fills the device for certain.
  //
  // FAILED_PRECONDITION: the volume holds something else, or half a file
  // system that may not be made anew. Otherwise the errors of FileSystems and
  // of calls to ramvold; call it again.
  absl::StatusOr<FileSystem> Prepare(const v1::Volume& volume,
                                     const std::string& device,
                                     const WantedFileSystem& wanted,
                                     absl::Time deadline) const;

  // Call it before a pod gets the volume as a block device to write: from then
  // on, what there is is somebody's, also where mkfs was begun. Prepare does so
  // with a file system.
  absl::Status HandOver(const v1::Volume& volume) const;

 private:
  // Probe, but what has data beyond the beginning is "unknown", not "".
  absl::StatusOr<FileSystem> Look(const v1::Volume& volume,
                                  const std::string& device) const;
  // Makes a file system in a volume that may be formatted.
  absl::StatusOr<FileSystem> Format(const v1::Volume& volume,
                                    const std::string& device,
                                    const std::string& type,
                                    absl::Time deadline) const;
  // Repairs it, and gives it a UUID of its own if it is a copy's.
  // `is_handed_over`: to a pod that may write.
  absl::Status Mend(const v1::Volume& volume, const std::string& device,
                    const std::string& type, bool is_handed_over,
                    absl::Time deadline) const;

  const Volumes* const volumes_;
  const FileSystems* const file_systems_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_FORMATTER_H_
