#include "server/saves/manifest.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "qcow2/format.h"
#include "qcow2/image_digest.h"

namespace ramvol::saves {
namespace {

// Then the version, the length and the digest of what follows, of 8 bytes each.
constexpr std::string_view kManifestMagic("ramvol save\n\0\0\0\0", 16);
constexpr uint64_t kManifestVersion = 1;
constexpr size_t kVersionAt = 16;
constexpr size_t kLengthAt = 24;
constexpr size_t kDigestAt = 32;
constexpr size_t kHeadBytes = 40;

uint64_t DigestOf(std::string_view bytes) {
  qcow2::ImageDigest digest;
  digest.Add(bytes);
  return digest.Get();
}

absl::Status Damaged(std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("is damaged: ", absl::string_view(why.data(), why.size())));
}

bool RootsFit(const state::v1::SaveManifest& manifest) {
  for (int i = 0; i < manifest.roots_size(); ++i) {
    const state::v1::SavedRoot& root = manifest.roots(i);
    if (root.backing() < 0 || root.backing() > i) return false;
    if (root.image_id() == 0 || root.uid() == 0) return false;
    if (root.file().empty() || root.file().find('/') != std::string::npos) {
      return false;
    }
  }
  return true;
}

v1::Allocator ToProto(engine::Allocator allocator) {
  switch (allocator) {
    case engine::Allocator::kSparse:
      return v1::ALLOCATOR_SPARSE;
    case engine::Allocator::kMalloc:
      return v1::ALLOCATOR_MALLOC;
    case engine::Allocator::kZstd:
      break;
  }
  return v1::ALLOCATOR_ZSTD;
}

engine::Allocator FromProto(v1::Allocator allocator) {
  if (allocator == v1::ALLOCATOR_SPARSE) return engine::Allocator::kSparse;
  if (allocator == v1::ALLOCATOR_MALLOC) return engine::Allocator::kMalloc;
  return engine::Allocator::kZstd;
}

}  // namespace

std::string EncodeManifest(const state::v1::SaveManifest& manifest) {
  const std::string roots = manifest.SerializeAsString();
  std::string bytes(kManifestMagic);
  bytes.resize(kHeadBytes);
  qcow2::StoreBig64(kManifestVersion, &bytes[kVersionAt]);
  qcow2::StoreBig64(roots.size(), &bytes[kLengthAt]);
  qcow2::StoreBig64(DigestOf(roots), &bytes[kDigestAt]);
  return bytes + roots;
}

absl::StatusOr<state::v1::SaveManifest> ParseManifest(std::string_view bytes) {
  if (bytes.size() < kHeadBytes ||
      bytes.substr(0, kManifestMagic.size()) != kManifestMagic) {
    return Damaged("it does not begin as one");
  }
  const uint64_t version = qcow2::LoadBig64(bytes.data() + kVersionAt);
  if (version != kManifestVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("is of version ", version,
                     ", and this ramvold reads version ", kManifestVersion));
  }
  const std::string_view roots = bytes.substr(kHeadBytes);
  if (qcow2::LoadBig64(bytes.data() + kLengthAt) != roots.size()) {
    return Damaged(absl::StrCat("it has ", roots.size(), " bytes, not ",
                                qcow2::LoadBig64(bytes.data() + kLengthAt)));
  }
  state::v1::SaveManifest manifest;
  if (qcow2::LoadBig64(bytes.data() + kDigestAt) != DigestOf(roots) ||
      !manifest.ParseFromArray(roots.data(), static_cast<int>(roots.size()))) {
    return Damaged("its checksum is wrong");
  }
  if (!RootsFit(manifest)) return Damaged("its volumes do not fit together");
  return manifest;
}

uint64_t SaveIdOf(std::string_view bytes) {
  const uint64_t digest = DigestOf(bytes);
  return digest == 0 ? 1 : digest;
}

v1::CreateVolumeRequest SettingsOf(const engine::VolumeOptions& options) {
  v1::CreateVolumeRequest settings;
  settings.set_name(options.name);
  settings.set_size_bytes(static_cast<int64_t>(options.size_bytes));
  settings.set_allocator(ToProto(options.allocator));
  settings.set_min_frame_bytes(static_cast<int32_t>(options.min_frame_bytes));
  settings.set_max_frame_bytes(static_cast<int32_t>(options.max_frame_bytes));
  settings.set_zstd_level(options.write_level);
  settings.set_merge_zstd_level(options.merge_level);
  settings.set_memory_limit_bytes(
      static_cast<int64_t>(options.memory_limit_bytes));
  settings.set_read_only(options.read_only);
  return settings;
}

engine::VolumeOptions OptionsOf(const v1::CreateVolumeRequest& settings) {
  engine::VolumeOptions options;
  options.name = settings.name();
  options.size_bytes = static_cast<uint64_t>(settings.size_bytes());
  options.allocator = FromProto(settings.allocator());
  options.min_frame_bytes = static_cast<uint32_t>(settings.min_frame_bytes());
  options.max_frame_bytes = static_cast<uint32_t>(settings.max_frame_bytes());
  options.write_level = settings.zstd_level();
  options.merge_level = settings.merge_zstd_level();
  options.memory_limit_bytes =
      static_cast<uint64_t>(settings.memory_limit_bytes());
  options.read_only = settings.read_only();
  return options;
}

}  // namespace ramvol::saves
