#include "server/service/image_settings.h"

#include "absl/strings/str_cat.h"
#include "base/reason.h"

namespace ramvol::service {

std::string EncodeSettings(const v1::Volume& volume) {
  v1::CreateVolumeRequest settings;
  settings.set_allocator(volume.allocator());
  settings.set_min_frame_bytes(volume.min_frame_bytes());
  settings.set_max_frame_bytes(volume.max_frame_bytes());
  settings.set_zstd_level(volume.zstd_level());
  settings.set_merge_zstd_level(volume.merge_zstd_level());
  *settings.mutable_labels() = volume.labels();
  if (volume.has_limits()) *settings.mutable_limits() = volume.limits();
  return settings.SerializeAsString();
}

absl::Status CheckRestore(const v1::CreateVolumeRequest& wanted) {
  if (wanted.name().empty()) {
    return InvalidField("volume.name", "volume.name is empty; name a volume",
                        reason::kInvalidName);
  }
  if (!wanted.source().empty()) {
    return InvalidField("volume.source",
                        "a volume is made of an image or of a source, not of "
                        "both; leave volume.source out");
  }
  if (!wanted.request_id().empty() || wanted.validate_only()) {
    return InvalidField("volume.request_id",
                        "a restore cannot be repeated or tried; leave "
                        "volume.request_id and volume.validate_only out");
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::CreateVolumeRequest> RequestFor(
    const qcow2::Header& header, const v1::CreateVolumeRequest& wanted) {
  v1::CreateVolumeRequest parsed;
  if (!parsed.ParseFromString(header.origin->settings)) {
    return qcow2::Damaged("its settings are no settings of a volume");
  }
  v1::CreateVolumeRequest request;
  request.set_allocator(parsed.allocator());
  request.set_min_frame_bytes(parsed.min_frame_bytes());
  request.set_max_frame_bytes(parsed.max_frame_bytes());
  request.set_zstd_level(parsed.zstd_level());
  request.set_merge_zstd_level(parsed.merge_zstd_level());
  *request.mutable_labels() = parsed.labels();
  if (parsed.has_limits()) *request.mutable_limits() = parsed.limits();
  request.MergeFrom(wanted);
  const auto size = static_cast<int64_t>(header.exact_size_bytes());
  if (request.size_bytes() == 0) request.set_size_bytes(size);
  if (request.size_bytes() < size) {
    return InvalidField(
        "volume.size_bytes",
        absl::StrCat("volume.size_bytes is ", request.size_bytes(),
                     ", less than the ", size,
                     " bytes of the image; leave it out, and shrink the volume "
                     "later"));
  }
  return request;
}

}  // namespace ramvol::service
