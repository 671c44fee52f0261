#include "csi/parameters.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/size.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {
namespace {

constexpr char kKubernetesPrefix[] = "csi.storage.k8s.io/";
// Of parameters in a context, which has other entries, too.
constexpr char kRecreatePrefix[] = "recreate/";
constexpr char kRecreateSize[] = "recreate/size";

absl::Status Wrong(const std::string& name, const std::string& value,
                   const std::string& accepted) {
  return absl::InvalidArgumentError(
      absl::StrCat("parameter ", name, " is \"", value, "\"; give ", accepted));
}

absl::Status SetInteger(const std::string& name, const std::string& value,
                        int32_t* out) {
  if (absl::SimpleAtoi(value, out)) return absl::OkStatus();
  return Wrong(name, value, "a whole number");
}

absl::Status SetSize(const std::string& name, const std::string& value,
                     uint64_t* out) {
  const absl::StatusOr<uint64_t> size = ParseSize(value);
  if (!size.ok() || *size == 0)
    return Wrong(name, value, "a size such as 10Gi");
  *out = *size;
  return absl::OkStatus();
}

absl::Status SetFrame(const std::string& name, const std::string& value,
                      int32_t* out) {
  uint64_t bytes = 0;
  const absl::Status set = SetSize(name, value, &bytes);
  if (!set.ok() || bytes > 65536) {
    return Wrong(name, value, "4Ki, 8Ki, 16Ki, 32Ki or 64Ki");
  }
  *out = static_cast<int32_t>(bytes);
  return absl::OkStatus();
}

absl::Status SetAllocator(const std::string& value, v1::Allocator* out) {
  const std::string name =
      absl::StrCat("ALLOCATOR_", absl::AsciiStrToUpper(value));
  if (v1::Allocator_Parse(name, out) && *out != v1::ALLOCATOR_UNSPECIFIED) {
    return absl::OkStatus();
  }
  return Wrong("allocator", value, "zstd, sparse or malloc");
}

absl::Status SetMemoryLimit(const std::string& value, Parameters* out) {
  if (!absl::EndsWith(value, "%")) {
    return SetSize("memoryLimit", value, &out->memory_limit_bytes);
  }
  int percent = 0;
  if (absl::SimpleAtoi(absl::StripSuffix(value, "%"), &percent) &&
      percent >= 1 && percent <= 200) {
    out->memory_limit_percent = percent;
    return absl::OkStatus();
  }
  return Wrong("memoryLimit", value,
               "a size such as 2Gi, or 1% to 200% of the volume's size");
}

absl::Status SetFileSystem(const std::string& value, Parameters* out) {
  if (value.empty() || !IsFileSystem(value)) {
    return Wrong("fsType", value, "ext4, xfs or btrfs");
  }
  out->fs_type = value;
  return absl::OkStatus();
}

absl::Status SetClass(const std::string& value, Parameters* out) {
  // As long as Kubernetes' names.
  if (value.empty() || value.size() > 253) {
    return Wrong("class", value, "a name of 1 to 253 bytes");
  }
  out->class_name = value;
  return absl::OkStatus();
}

absl::Status SetWhenLost(const std::string& value, Parameters* out) {
  if (value != "fail" && value != "recreate") {
    return Wrong("whenLost", value, "fail or recreate");
  }
  out->recreate = value == "recreate";
  return absl::OkStatus();
}

absl::Status SetParameter(const std::string& name, const std::string& value,
                          bool is_inline, Parameters* out) {
  if (name == "allocator") return SetAllocator(value, &out->allocator);
  if (name == "zstdLevel") return SetInteger(name, value, &out->zstd_level);
  if (name == "mergeZstdLevel") {
    return SetInteger(name, value, &out->merge_zstd_level);
  }
  if (name == "minFrame") return SetFrame(name, value, &out->min_frame_bytes);
  if (name == "maxFrame") return SetFrame(name, value, &out->max_frame_bytes);
  if (name == "memoryLimit") return SetMemoryLimit(value, out);
  if (name == "fsType") return SetFileSystem(value, out);
  if (name == "size" && is_inline) {
    return SetSize(name, value, &out->size_bytes);
  }
  // Whoever writes a pod would name any.
  if (name == "class" && !is_inline) return SetClass(value, out);
  // An inline volume is made whenever its pod begins.
  if (name == "whenLost" && !is_inline) return SetWhenLost(value, out);
  if (name == "image") {
    out->image = value;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "parameter ", name,
      " is unknown; there are allocator, zstdLevel, mergeZstdLevel, minFrame, "
      "maxFrame, memoryLimit, fsType, image, class, whenLost and, for inline "
      "volumes alone, size"));
}

}  // namespace

bool IsFileSystem(const std::string& fs_type) {
  return fs_type.empty() || fs_type == "ext4" || fs_type == "xfs" ||
         fs_type == "btrfs";
}

absl::StatusOr<Parameters> ParseParameters(const ParameterMap& map,
                                           bool is_inline) {
  Parameters parameters;
  for (const auto& [name, value] : map) {
    if (absl::StartsWith(name, kKubernetesPrefix)) continue;
    const absl::Status set = SetParameter(name, value, is_inline, &parameters);
    if (!set.ok()) return set;
  }
  return parameters;
}

ParameterMap RecreationContext(const ParameterMap& map, uint64_t size_bytes) {
  ParameterMap context = {{kRecreateSize, absl::StrCat(size_bytes)}};
  for (const auto& [name, value] : map) {
    if (absl::StartsWith(name, kKubernetesPrefix)) continue;
    context[kRecreatePrefix + name] = value;
  }
  return context;
}

absl::StatusOr<std::optional<Parameters>> ParseRecreation(
    const ParameterMap& context) {
  const auto size = context.find(kRecreateSize);
  if (size == context.end()) return std::nullopt;
  ParameterMap map;
  for (const auto& [name, value] : context) {
    if (name == kRecreateSize || !absl::StartsWith(name, kRecreatePrefix)) {
      continue;
    }
    map[name.substr(sizeof(kRecreatePrefix) - 1)] = value;
  }
  absl::StatusOr<Parameters> parameters =
      ParseParameters(map, /*is_inline=*/false);
  if (!parameters.ok()) return parameters.status();
  const absl::Status set =
      SetSize(kRecreateSize, size->second, &parameters->size_bytes);
  if (!set.ok()) return set;
  return *std::move(parameters);
}

absl::Status CheckNoParameters(const ParameterMap& map) {
  for (const auto& [name, value] : map) {
    if (absl::StartsWith(name, kKubernetesPrefix)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("parameter ", name, " is unknown; snapshots have none"));
  }
  return absl::OkStatus();
}

v1::CreateVolumeRequest Parameters::ToRequest(uint64_t bytes) const {
  v1::CreateVolumeRequest request;
  request.set_size_bytes(static_cast<int64_t>(bytes));
  request.set_allocator(allocator);
  request.set_zstd_level(zstd_level);
  request.set_merge_zstd_level(merge_zstd_level);
  request.set_min_frame_bytes(min_frame_bytes);
  request.set_max_frame_bytes(max_frame_bytes);
  // In this order nothing overflows.
  const uint64_t share =
      bytes / 100 * static_cast<uint64_t>(memory_limit_percent);
  request.set_memory_limit_bytes(static_cast<int64_t>(
      memory_limit_percent > 0 ? share : memory_limit_bytes));
  return request;
}

}  // namespace ramvol::csi_driver
