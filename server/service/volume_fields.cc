#include "server/service/volume_fields.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/numeric/bits.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/reason.h"
#include "server/service/uid.h"

namespace ramvol::service {
namespace {

// `field` is as users know it: "size_bytes" in CreateVolume,
// "volume.size_bytes" in UpdateVolume.
absl::Status CheckSize(const std::string& field, int64_t bytes) {
  if (bytes > 0) return absl::OkStatus();
  return InvalidField(field,
                      absl::StrCat(field, " is ", bytes, "; a volume has 1 to ",
                                   engine::kMaxVolumeBytes, " bytes"));
}

absl::Status CheckLevel(const std::string& field, int level) {
  if (level >= engine::kMinLevel && level <= engine::kMaxLevel) {
    return absl::OkStatus();
  }
  return InvalidField(
      field, absl::StrCat(field, " is ", level, "; zstd levels go from ",
                          engine::kMinLevel, " to ", engine::kMaxLevel,
                          ", and 0 means the default"));
}

absl::Status CheckMemoryLimit(const std::string& field, int64_t bytes) {
  if (bytes >= 0) return absl::OkStatus();
  return InvalidField(
      field, absl::StrCat(field, " is ", bytes,
                          "; it must not be negative, and 0 means no limit"));
}

// `name` is as users know it: "limits" in CreateVolume.
absl::Status CheckLimits(const std::string& name,
                         const v1::UsageLimits& limits) {
  const auto* type = v1::UsageLimits::descriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const auto* field = type->field(i);
    const int64_t value = limits.GetReflection()->GetInt64(limits, field);
    if (value >= -1) continue;
    return InvalidField(
        absl::StrCat(name, ".", field->name()),
        absl::StrCat(name, ".", field->name(), " is ", value,
                     "; it must be positive, or 0 for the server's default, or "
                     "-1 for no limit"));
  }
  const auto check = [&](const char* rate, int64_t total, int64_t most) {
    if (most <= 0 || most >= total) return absl::OkStatus();
    return InvalidField(
        absl::StrCat(name, ".", rate, "_max"),
        absl::StrCat(name, ".", rate, "_max is ", most, ", less than ", rate,
                     ", ", total, "; make it as large or larger, or 0"));
  };
  absl::Status status =
      check("iops_total", limits.iops_total(), limits.iops_total_max());
  if (!status.ok()) return status;
  return check("bps_total", limits.bps_total(), limits.bps_total_max());
}

absl::Status CheckFrame(const char* field, int bytes) {
  const bool fits = bytes >= static_cast<int>(engine::kBlockBytes) &&
                    bytes <= static_cast<int>(engine::kChunkBytes) &&
                    absl::has_single_bit(static_cast<unsigned>(bytes));
  if (bytes == 0 || fits) return absl::OkStatus();
  return InvalidField(
      field, absl::StrCat(field, " is ", bytes,
                          "; use 4096, 8192, 16384, 32768 or 65536, or 0 for "
                          "the default"));
}

absl::Status CheckTtl(const char* field,
                      const google::protobuf::Duration& ttl) {
  constexpr int32_t kNanosPerSecond = 1'000'000'000;
  const bool valid = ttl.seconds() >= 0 && ttl.nanos() >= 0 &&
                     ttl.nanos() < kNanosPerSecond &&
                     absl::Seconds(ttl.seconds()) <= kMaxTtl;
  const absl::Duration duration = valid ? FromProto(ttl) : -kMinTtl;
  if (duration == absl::ZeroDuration() ||
      (duration >= kMinTtl && duration <= kMaxTtl)) {
    return absl::OkStatus();
  }
  return InvalidField(
      field, absl::StrCat(field, " is ", ttl.seconds(), " s and ", ttl.nanos(),
                          " ns; it is 1 second to 3650 days, or 0 for none"));
}

absl::StatusOr<engine::Allocator> ParseAllocator(v1::Allocator allocator) {
  switch (allocator) {
    case v1::ALLOCATOR_UNSPECIFIED:
    case v1::ALLOCATOR_ZSTD:
      return engine::Allocator::kZstd;
    case v1::ALLOCATOR_SPARSE:
      return engine::Allocator::kSparse;
    case v1::ALLOCATOR_MALLOC:
      return engine::Allocator::kMalloc;
    default:
      return InvalidField(
          "allocator",
          absl::StrCat("allocator is ", static_cast<int>(allocator),
                       "; use ALLOCATOR_ZSTD, ALLOCATOR_SPARSE or "
                       "ALLOCATOR_MALLOC"));
  }
}

v1::Allocator AllocatorOf(engine::Allocator allocator) {
  switch (allocator) {
    case engine::Allocator::kZstd:
      return v1::ALLOCATOR_ZSTD;
    case engine::Allocator::kSparse:
      return v1::ALLOCATOR_SPARSE;
    case engine::Allocator::kMalloc:
      return v1::ALLOCATOR_MALLOC;
  }
  return v1::ALLOCATOR_UNSPECIFIED;
}

absl::Status FirstError(std::initializer_list<absl::Status> checks) {
  for (const absl::Status& status : checks) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckName(const char* field, const std::string& name) {
  absl::Status valid = engine::ValidateName(name);
  if (valid.ok()) return valid;
  return InvalidField(field, std::string(valid.message()),
                      reason::kInvalidName);
}

absl::Status CheckCreate(const v1::CreateVolumeRequest& request) {
  absl::Status name = CheckName("name", request.name());
  if (!name.ok()) return name;
  const bool size_of_source =
      !request.source().empty() && request.size_bytes() == 0;
  return FirstError(
      {size_of_source ? absl::OkStatus()
                      : CheckSize("size_bytes", request.size_bytes()),
       CheckFrame("min_frame_bytes", request.min_frame_bytes()),
       CheckFrame("max_frame_bytes", request.max_frame_bytes()),
       CheckLevel("zstd_level", request.zstd_level()),
       CheckLevel("merge_zstd_level", request.merge_zstd_level()),
       CheckMemoryLimit("memory_limit_bytes", request.memory_limit_bytes()),
       CheckLimits("limits", request.limits()),
       CheckLabels("labels", request.labels()), CheckTtl("ttl", request.ttl()),
       CheckRequestId(request.request_id())});
}

// Checks fields that depend on each other.
absl::Status CheckCombination(const engine::VolumeOptions& options) {
  if (options.min_frame_bytes > options.max_frame_bytes) {
    return InvalidField(
        "min_frame_bytes",
        absl::StrCat("min_frame_bytes is ", options.min_frame_bytes,
                     ", more than max_frame_bytes, ", options.max_frame_bytes));
  }
  if (options.allocator == engine::Allocator::kMalloc &&
      options.memory_limit_bytes != 0) {
    return InvalidField(
        "memory_limit_bytes",
        "a volume of ALLOCATOR_MALLOC has all its memory reserved; it takes no "
        "memory_limit_bytes");
  }
  return absl::OkStatus();
}

absl::Status UnknownPath(const std::string& path) {
  return InvalidField(
      "update_mask",
      absl::StrCat("update_mask names \"", path,
                   "\", which cannot change; size_bytes, zstd_level, "
                   "merge_zstd_level, memory_limit_bytes, read_only, labels, "
                   "ttl, limits and its fields can"));
}

// A path "limits", or of one of its fields.
absl::Status ParseLimitsPath(const std::string& path,
                             const v1::UsageLimits& limits,
                             VolumeChange* change) {
  const auto* type = v1::UsageLimits::descriptor();
  change->limits = limits;
  if (path == "limits") {
    for (int i = 0; i < type->field_count(); ++i) {
      change->limit_fields.push_back(type->field(i));
    }
    return absl::OkStatus();
  }
  const auto* field =
      type->FindFieldByName(std::string(absl::StripPrefix(path, "limits.")));
  if (field == nullptr) return UnknownPath(path);
  change->limit_fields.push_back(field);
  return absl::OkStatus();
}

// Copies one field of the mask to `change`.
absl::Status ParsePath(const std::string& path, const v1::Volume& volume,
                       VolumeChange* change) {
  const std::string field = absl::StrCat("volume.", path);
  engine::VolumeUpdate& update = change->engine;
  if (path == "size_bytes") {
    update.size_bytes = static_cast<uint64_t>(volume.size_bytes());
    return CheckSize(field, volume.size_bytes());
  }
  if (path == "zstd_level") {
    const int level = volume.zstd_level();
    update.write_level = level == 0 ? engine::kDefaultWriteLevel : level;
    return CheckLevel(field, level);
  }
  if (path == "merge_zstd_level") {
    const int level = volume.merge_zstd_level();
    update.merge_level = level == 0 ? engine::kDefaultMergeLevel : level;
    return CheckLevel(field, level);
  }
  if (path == "memory_limit_bytes") {
    update.memory_limit_bytes =
        static_cast<uint64_t>(volume.memory_limit_bytes());
    return CheckMemoryLimit(field, volume.memory_limit_bytes());
  }
  if (path == "read_only") {
    update.read_only = volume.read_only();
    return absl::OkStatus();
  }
  if (path == "labels") {
    change->set_labels = true;
    change->labels = volume.labels();
    return CheckLabels(field, volume.labels());
  }
  if (path == "ttl") {
    absl::Status valid = CheckTtl("volume.ttl", volume.ttl());
    if (valid.ok()) change->ttl = FromProto(volume.ttl());
    return valid;
  }
  if (path == "limits" || absl::StartsWith(path, "limits.")) {
    return ParseLimitsPath(path, volume.limits(), change);
  }
  return UnknownPath(path);
}

uint64_t ResolveLimit(int64_t own, uint64_t by_default) {
  if (own == 0) return by_default;
  return own < 0 ? 0 : static_cast<uint64_t>(own);
}

}  // namespace

absl::Status CheckLabels(const std::string& field, const Labels& labels) {
  if (labels.size() > kMaxLabels) {
    return InvalidField(
        field, absl::StrCat("there are ", labels.size(),
                            " labels; a volume has at most ", kMaxLabels));
  }
  for (const auto& [key, value] : labels) {
    if (!engine::ValidateName(key).ok()) {
      return InvalidField(
          field,
          absl::StrCat("label key \"", key,
                       "\" is not 1 to 63 characters of [a-z0-9._-] that "
                       "begin and end with a letter or a digit"));
    }
    if (value.size() > kMaxLabelValueBytes) {
      return InvalidField(
          field,
          absl::StrCat("the value of label \"", key, "\" has ", value.size(),
                       " bytes; a value has at most ", kMaxLabelValueBytes));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRequestId(const std::string& request_id) {
  if (request_id.size() <= kMaxRequestIdBytes) return absl::OkStatus();
  return InvalidField(
      "request_id",
      absl::StrCat("request_id has ", request_id.size(),
                   " bytes; it has at most ", kMaxRequestIdBytes));
}

absl::StatusOr<engine::VolumeOptions> ParseCreate(
    const v1::CreateVolumeRequest& request) {
  absl::Status status = CheckCreate(request);
  if (!status.ok()) return status;
  auto allocator = ParseAllocator(request.allocator());
  if (!allocator.ok()) return allocator.status();

  engine::VolumeOptions options;
  options.name = request.name();
  options.size_bytes = static_cast<uint64_t>(request.size_bytes());
  options.allocator = *allocator;
  if (request.min_frame_bytes() != 0) {
    options.min_frame_bytes = static_cast<uint32_t>(request.min_frame_bytes());
  }
  if (request.max_frame_bytes() != 0) {
    options.max_frame_bytes = static_cast<uint32_t>(request.max_frame_bytes());
  }
  options.write_level = request.zstd_level() == 0 ? engine::kDefaultWriteLevel
                                                  : request.zstd_level();
  options.merge_level = request.merge_zstd_level() == 0
                            ? engine::kDefaultMergeLevel
                            : request.merge_zstd_level();
  options.memory_limit_bytes =
      static_cast<uint64_t>(request.memory_limit_bytes());
  options.read_only = request.read_only();
  // Those of a clone are complete once it has inherited the rest.
  if (request.source().empty()) status = CheckCombination(options);
  if (!status.ok()) return status;
  return options;
}

absl::Status InheritMissing(const v1::CreateVolumeRequest& request,
                            const engine::VolumeOptions& source,
                            engine::VolumeOptions* options) {
  if (request.size_bytes() == 0) options->size_bytes = source.size_bytes;
  if (request.allocator() == v1::ALLOCATOR_UNSPECIFIED) {
    options->allocator = source.allocator;
  }
  if (request.min_frame_bytes() == 0) {
    options->min_frame_bytes = source.min_frame_bytes;
  }
  if (request.max_frame_bytes() == 0) {
    options->max_frame_bytes = source.max_frame_bytes;
  }
  if (request.zstd_level() == 0) options->write_level = source.write_level;
  if (request.merge_zstd_level() == 0) {
    options->merge_level = source.merge_level;
  }
  if (options->size_bytes < source.size_bytes) {
    return InvalidField(
        "size_bytes",
        absl::StrCat("size_bytes is ", options->size_bytes, ", less than the ",
                     source.size_bytes,
                     " bytes of the source; leave it out, or shrink the clone "
                     "later"));
  }
  return CheckCombination(*options);
}

absl::StatusOr<VolumeChange> ParseUpdate(
    const v1::UpdateVolumeRequest& request) {
  if (request.update_mask().paths().empty()) {
    return InvalidField("update_mask",
                        "update_mask is empty; name the fields to change");
  }
  VolumeChange change;
  change.engine.if_unattached = request.if_unattached();
  for (const std::string& path : request.update_mask().paths()) {
    absl::Status status = ParsePath(path, request.volume(), &change);
    if (!status.ok()) return status;
  }
  return change;
}

absl::Status CheckRename(const v1::RenameVolumeRequest& request) {
  absl::Status name = CheckName("new_name", request.new_name());
  return name.ok() ? CheckRequestId(request.request_id()) : name;
}

absl::Status ApplyLimits(const VolumeChange& change, v1::UsageLimits* limits) {
  for (const auto* field : change.limit_fields) {
    limits->GetReflection()->SetInt64(
        limits, field,
        change.limits.GetReflection()->GetInt64(change.limits, field));
  }
  return CheckLimits("volume.limits", *limits);
}

UsageLimits ResolveLimits(const v1::UsageLimits& limits,
                          const UsageLimits& defaults) {
  UsageLimits all = {
      .iops_total = ResolveLimit(limits.iops_total(), defaults.iops_total),
      .bps_total = ResolveLimit(limits.bps_total(), defaults.bps_total),
      .iops_total_max =
          ResolveLimit(limits.iops_total_max(), defaults.iops_total_max),
      .bps_total_max =
          ResolveLimit(limits.bps_total_max(), defaults.bps_total_max),
      .io_streams = ResolveLimit(limits.io_streams(), defaults.io_streams),
      .nbd_connections =
          ResolveLimit(limits.nbd_connections(), defaults.nbd_connections)};
  // A burst and a rate may come from different places.
  if (all.iops_total_max != 0) {
    all.iops_total_max = std::max(all.iops_total_max, all.iops_total);
  }
  if (all.bps_total_max != 0) {
    all.bps_total_max = std::max(all.bps_total_max, all.bps_total);
  }
  return all;
}

google::protobuf::Timestamp ToProto(absl::Time time) {
  google::protobuf::Timestamp timestamp;
  const int64_t seconds = absl::ToUnixSeconds(time);
  timestamp.set_seconds(seconds);
  timestamp.set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
  return timestamp;
}

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration proto;
  proto.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
  return proto;
}

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) +
         absl::Nanoseconds(time.nanos());
}

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) +
         absl::Nanoseconds(duration.nanos());
}

void FillVolume(const engine::VolumeOptions& options, v1::Volume* volume) {
  volume->set_name(options.name);
  volume->set_size_bytes(static_cast<int64_t>(options.size_bytes));
  volume->set_allocator(AllocatorOf(options.allocator));
  volume->set_min_frame_bytes(static_cast<int32_t>(options.min_frame_bytes));
  volume->set_max_frame_bytes(static_cast<int32_t>(options.max_frame_bytes));
  volume->set_zstd_level(options.write_level);
  volume->set_merge_zstd_level(options.merge_level);
  volume->set_memory_limit_bytes(
      static_cast<int64_t>(options.memory_limit_bytes));
  volume->set_read_only(options.read_only);
}

void FillVolume(const engine::Volume& from, v1::Volume* volume) {
  FillVolume(from.options(), volume);
  volume->set_uid(FormatUid(from.uid()));
  volume->set_state(StateOf(from));
}

v1::VolumeState StateOf(const engine::Volume& volume) {
  if (volume.damaged()) return v1::VOLUME_STATE_DAMAGED;
  switch (volume.completeness()) {
    case engine::Completeness::kRestoring:
      return v1::VOLUME_STATE_RESTORING;
    case engine::Completeness::kIncomplete:
      return v1::VOLUME_STATE_INCOMPLETE;
    case engine::Completeness::kComplete:
      break;
  }
  return v1::VOLUME_STATE_READY;
}

v1::VolumeStats MakeStats(const engine::VolumeStats& stats) {
  v1::VolumeStats out;
  const auto i64 = [](uint64_t value) { return static_cast<int64_t>(value); };
  out.set_size_bytes(i64(stats.size_bytes));
  out.set_logical_bytes(i64(stats.logical_bytes));
  out.set_stored_bytes(i64(stats.stored_bytes));
  out.set_memory_bytes(i64(stats.memory_bytes));
  out.set_memory_limit_bytes(i64(stats.memory_limit_bytes));
  if (stats.stored_bytes != 0) {
    out.set_ratio(static_cast<double>(stats.logical_bytes) /
                  static_cast<double>(stats.stored_bytes));
  }
  v1::BlockCounts& blocks = *out.mutable_blocks();
  blocks.set_compressed(i64(stats.compressed_blocks));
  blocks.set_raw(i64(stats.raw_blocks));
  blocks.set_same_filled(i64(stats.same_filled_blocks));
  blocks.set_dirty(i64(stats.dirty_blocks));
  for (size_t span = 0; span < stats.frames.size(); ++span) {
    v1::FrameCount& frames = *out.add_frames();
    frames.set_span_blocks(1 << span);
    frames.set_frames(i64(stats.frames[span]));
    frames.set_stored_bytes(i64(stats.frame_bytes[span]));
  }
  out.set_hot_bytes(i64(stats.hot_bytes));
  out.set_dirty_bytes(i64(stats.dirty_bytes));
  out.set_dead_bytes(i64(stats.dead_bytes));
  out.set_attached_clients(stats.attached_clients);
  out.set_own_bytes(i64(stats.own_bytes));
  out.set_shared_bytes(i64(stats.shared_bytes));
  v1::UsageLimits& limits = *out.mutable_limits();
  limits.set_iops_total(i64(stats.limits.iops_total));
  limits.set_iops_total_max(i64(stats.limits.iops_total_max));
  limits.set_bps_total(i64(stats.limits.bps_total));
  limits.set_bps_total_max(i64(stats.limits.bps_total_max));
  limits.set_io_streams(i64(stats.limits.io_streams));
  limits.set_nbd_connections(i64(stats.limits.nbd_connections));
  out.set_throttled_now(i64(stats.throttled_now));

  v1::IoCounters& io = *out.mutable_io();
  io.set_read_operations(i64(stats.read_operations));
  io.set_write_operations(i64(stats.write_operations));
  io.set_trim_operations(i64(stats.trim_operations));
  io.set_zero_operations(i64(stats.zero_operations));
  io.set_flush_operations(i64(stats.flush_operations));
  io.set_extents_operations(i64(stats.extents_operations));
  io.set_failed_operations(i64(stats.failed_operations));
  io.set_read_bytes(i64(stats.read_bytes));
  io.set_written_bytes(i64(stats.written_bytes));
  io.set_trimmed_bytes(i64(stats.trimmed_bytes));
  io.set_zeroed_bytes(i64(stats.zeroed_bytes));
  io.set_cache_hits(i64(stats.cache_hits));
  io.set_cache_misses(i64(stats.cache_misses));
  io.set_merged_frames(i64(stats.merged_frames));
  io.set_split_frames(i64(stats.split_frames));
  io.set_compress_nanoseconds(i64(stats.compress_ns));
  io.set_decompress_nanoseconds(i64(stats.decompress_ns));
  io.set_corrupt_frames(i64(stats.corrupt_frames));
  io.set_read_nanoseconds(i64(stats.read_ns));
  io.set_write_nanoseconds(i64(stats.write_ns));
  io.set_throttled_operations(i64(stats.throttled_operations));
  io.set_throttled_nanoseconds(i64(stats.throttled_ns));
  return out;
}

}  // namespace ramvol::service
