#include "csi/formatter.h"

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "csi/file_system.h"
#include "csi/volume_handle.h"
#include "csi/volumes.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {
namespace {

constexpr char kDefaultFileSystem[] = "ext4";

bool IsFormatted(const v1::Volume& volume) {
  return !LabelOf(volume, label::kFormatted).empty();
}

// Whether a file system in it that the driver has not made may be another
// volume's as well. What was saved and is restored knows no source any more.
bool IsCopy(const v1::Volume& volume) {
  return !volume.source().empty() || !LabelOf(volume, label::kHandle).empty();
}

// What there is then is the half of a file system, which nobody has had.
bool IsBegun(const v1::Volume& volume) {
  return !IsFormatted(volume) && !LabelOf(volume, label::kFormatting).empty();
}

// The value of a label of formatting. Under another name than the original's,
// only what names the volume counts.
std::string Mark(const std::string& type, const v1::Volume& volume) {
  return absl::StrCat(type, "@", volume.name());
}

// What a device holds, by the type that was found there.
std::string Describe(const std::string& type) {
  if (type.empty()) return "nothing";
  return type == "unknown" ? "unknown data" : type;
}

}  // namespace

absl::StatusOr<FileSystem> Formatter::Prepare(const v1::Volume& volume,
                                              const std::string& device,
                                              const WantedFileSystem& wanted,
                                              absl::Time deadline) const {
  absl::StatusOr<FileSystem> found = Look(volume, device);
  if (!found.ok()) return found;
  const bool begun = IsBegun(volume);
  const bool is_new = !IsFormatted(volume) && found->type.empty();
  if (wanted.make && (begun || is_new)) {
    return Format(volume, device,
                  wanted.type.empty() ? kDefaultFileSystem : wanted.type,
                  deadline);
  }
  if (begun || found->type.empty() || found->type == "unknown" ||
      (!wanted.type.empty() && found->type != wanted.type)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "volume \"", HandleOf(volume), "\" holds ",
        begun ? "half a file system" : Describe(found->type), ", not ",
        wanted.type.empty() ? "a known file system" : wanted.type));
  }
  if (volume.read_only()) return found;
  const absl::Status mended =
      Mend(volume, device, found->type, wanted.make, deadline);
  if (!mended.ok()) return mended;
  return found;
}

absl::Status Formatter::HandOver(const v1::Volume& volume) const {
  return volumes_->Relabel(volume, {{label::kFormatting, ""}}).status();
}

absl::StatusOr<FileSystem> Formatter::Look(const v1::Volume& volume,
                                           const std::string& device) const {
  absl::StatusOr<FileSystem> found = file_systems_->Probe(device);
  if (!found.ok() || !found->type.empty()) return found;
  const absl::Status written = file_systems_->WriteBack(device);
  if (!written.ok()) return written;
  const absl::StatusOr<bool> empty = volumes_->HoldsNothing(volume);
  if (!empty.ok()) return empty.status();
  if (!*empty) found->type = "unknown";
  return found;
}

absl::StatusOr<FileSystem> Formatter::Format(const v1::Volume& volume,
                                             const std::string& device,
                                             const std::string& type,
                                             absl::Time deadline) const {
  const bool begun = IsBegun(volume);
  const std::string mark = Mark(type, volume);
  const auto noted = volumes_->Relabel(volume, {{label::kFormatting, mark}});
  if (!noted.ok()) return noted.status();
  const absl::Status made =
      file_systems_->Make(type, device, /*is_zero=*/!begun, deadline);
  if (!made.ok()) return made;
  const auto done = volumes_->Relabel(
      *noted, {{label::kFormatting, ""}, {label::kFormatted, mark}});
  if (!done.ok()) return done.status();
  return FileSystem{.type = type, .size_bytes = UINT64_MAX};
}

absl::Status Formatter::Mend(const v1::Volume& volume,
                             const std::string& device, const std::string& type,
                             bool is_handed_over, absl::Time deadline) const {
  const absl::Status checked = file_systems_->Check(type, device, deadline);
  if (!checked.ok()) return checked;
  Labels labels;
  if (is_handed_over) labels.emplace_back(label::kFormatting, "");
  if (IsCopy(volume) && !IsFormatted(volume)) {
    const absl::Status renewed = file_systems_->RenewUuid(type, device);
    if (!renewed.ok()) return renewed;
    labels.emplace_back(label::kFormatted, Mark(type, volume));
  }
  if (labels.empty()) return absl::OkStatus();
  return volumes_->Relabel(volume, labels).status();
}

}  // namespace ramvol::csi_driver
