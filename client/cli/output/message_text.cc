#include "client/cli/output/message_text.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/duration_text.h"
#include "base/printable.h"
#include "base/size.h"
#include "client/cli/output/table.h"
#include "client/cli/output/words.h"
#include "google/protobuf/timestamp.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

constexpr int64_t kBlockBytes = 4096;
constexpr char kAllocatorPrefix[] = "ALLOCATOR_";
constexpr char kStatePrefix[] = "VOLUME_STATE_";

// A server of an earlier version says nothing about it.
bool IsUsable(v1::VolumeState state) {
  return state == v1::VOLUME_STATE_READY ||
         state == v1::VOLUME_STATE_UNSPECIFIED;
}

std::string StateText(v1::VolumeState state) {
  const std::string name = v1::VolumeState_Name(state);
  if (name.rfind(kStatePrefix, 0) != 0) return absl::StrCat(state);
  return absl::AsciiStrToLower(name.substr(sizeof(kStatePrefix) - 1));
}

// Of volumes or snapshots. If so, tables have a column for it.
template <typename Messages>
bool AnyUnusable(const Messages& messages) {
  return std::any_of(messages.begin(), messages.end(), [](const auto& message) {
    return !IsUsable(message.state());
  });
}

std::string Size(int64_t bytes) {
  return FormatSize(static_cast<uint64_t>(bytes));
}

std::string Limit(int64_t bytes) { return bytes == 0 ? "none" : Size(bytes); }

std::string Ratio(double ratio) {
  return ratio > 0 ? absl::StrFormat("%.2f", ratio) : "-";
}

std::string Percent(double part, double whole) {
  return whole > 0 ? absl::StrFormat("%.1f%%", 100 * part / whole) : "-";
}

// Of a volume or a snapshot.
template <typename Message>
std::string Labels(const Message& message) {
  const std::map<std::string, std::string> sorted(message.labels().begin(),
                                                  message.labels().end());
  return absl::StrJoin(sorted, ",", [](std::string* out, const auto& label) {
    absl::StrAppend(out, label.first, "=", Quoted(label.second));
  });
}

absl::Time ToTime(const google::protobuf::Timestamp& timestamp) {
  return absl::FromUnixSeconds(timestamp.seconds()) +
         absl::Nanoseconds(timestamp.nanos());
}

std::string TimeText(const google::protobuf::Timestamp& timestamp) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", ToTime(timestamp),
                          absl::UTCTimeZone());
}

// "1h59m58s"; "in use" while clients are attached.
std::string ExpiryText(const v1::Volume& volume, absl::Time now) {
  if (!volume.has_ttl()) return "-";
  if (!volume.has_expire_time()) return "in use";
  return absl::StrCat("in ", DurationText(ToTime(volume.expire_time()) - now));
}

std::string TtlText(const v1::Volume& volume, absl::Time now) {
  if (!volume.has_ttl()) return "none";
  const absl::Duration ttl = absl::Seconds(volume.ttl().seconds()) +
                             absl::Nanoseconds(volume.ttl().nanos());
  if (!volume.has_expire_time()) {
    return absl::StrCat(DurationText(ttl),
                        " after the last client has detached");
  }
  return absl::StrCat(DurationText(ttl),
                      " after the last use: ", ExpiryText(volume, now), ", at ",
                      TimeText(volume.expire_time()));
}

std::string Seconds(int64_t nanoseconds) {
  return absl::StrFormat("%.3f s", static_cast<double>(nanoseconds) / 1e9);
}

// "1.2 us a read"; "no read yet".
std::string MeanTime(const char* what, int64_t nanoseconds,
                     int64_t operations) {
  if (operations == 0) return absl::StrCat("no ", what, " yet");
  return absl::StrCat(LatencyText(static_cast<double>(nanoseconds) / 1e3 /
                                  static_cast<double>(operations)),
                      " a ", what);
}

std::string BlocksText(const v1::BlockCounts& blocks) {
  const double all = static_cast<double>(blocks.compressed()) + blocks.raw() +
                     blocks.same_filled() + blocks.dirty();
  Table table({{"BLOCKS"},
               {"COUNT", Align::kRight},
               {"BYTES", Align::kRight},
               {"SHARE", Align::kRight}});
  const std::pair<const char*, int64_t> states[] = {
      {"compressed", blocks.compressed()},
      {"raw", blocks.raw()},
      {"same-filled", blocks.same_filled()},
      {"dirty", blocks.dirty()}};
  for (const auto& [state, count] : states) {
    table.AddRow({state, absl::StrCat(count), Size(count * kBlockBytes),
                  Percent(static_cast<double>(count), all)});
  }
  return table.Render();
}

std::string FramesText(const v1::VolumeStats& stats) {
  Table table({{"FRAMES", Align::kRight},
               {"COUNT", Align::kRight},
               {"STORED", Align::kRight},
               {"RATIO", Align::kRight}});
  for (const v1::FrameCount& frame : stats.frames()) {
    const int64_t span_bytes = frame.span_blocks() * kBlockBytes;
    const double ratio = frame.stored_bytes() == 0
                             ? 0
                             : static_cast<double>(frame.frames()) *
                                   span_bytes / frame.stored_bytes();
    table.AddRow({Size(span_bytes), absl::StrCat(frame.frames()),
                  Size(frame.stored_bytes()), Ratio(ratio)});
  }
  return table.Render();
}

std::string IoText(const v1::IoCounters& io) {
  Table table(
      {{"I/O"}, {"OPERATIONS", Align::kRight}, {"BYTES", Align::kRight}});
  auto add = [&table](const char* what, int64_t operations, int64_t bytes) {
    table.AddRow({what, absl::StrCat(operations), Size(bytes)});
  };
  add("read", io.read_operations(), io.read_bytes());
  add("write", io.write_operations(), io.written_bytes());
  add("trim", io.trim_operations(), io.trimmed_bytes());
  add("zero", io.zero_operations(), io.zeroed_bytes());
  table.AddRow({"flush", absl::StrCat(io.flush_operations()), "-"});
  table.AddRow({"extents", absl::StrCat(io.extents_operations()), "-"});
  table.AddRow({"failed", absl::StrCat(io.failed_operations()), "-"});
  return table.Render();
}

std::string WorkText(const v1::IoCounters& io) {
  const double looked = static_cast<double>(io.cache_hits()) +
                        static_cast<double>(io.cache_misses());
  Fields fields;
  fields.Add(
      "Cache",
      looked == 0
          ? "not asked yet"
          : absl::StrCat(CountOf(io.cache_hits(), "hit"), ", ",
                         CountOf(io.cache_misses(), "miss", "misses"), " (",
                         Percent(static_cast<double>(io.cache_hits()), looked),
                         " hits)"));
  fields.Add(
      "Mean time",
      absl::StrCat(
          MeanTime("read", io.read_nanoseconds(), io.read_operations()), ", ",
          MeanTime("write", io.write_nanoseconds(), io.write_operations())));
  fields.Add("Background",
             absl::StrCat(CountOf(io.merged_frames(), "frame"), " merged, ",
                          io.split_frames(), " split"));
  fields.Add(
      "zstd",
      absl::StrCat(Seconds(io.compress_nanoseconds()), " compressing, ",
                   Seconds(io.decompress_nanoseconds()), " decompressing"));
  fields.Add("Corrupt", CountOf(io.corrupt_frames(), "frame"));
  return fields.Render();
}

}  // namespace

std::string AllocatorName(v1::Allocator allocator) {
  const std::string name = v1::Allocator_Name(allocator);
  if (name.rfind(kAllocatorPrefix, 0) != 0) return absl::StrCat(allocator);
  return absl::AsciiStrToLower(name.substr(sizeof(kAllocatorPrefix) - 1));
}

std::string FormatBytes(int64_t bytes) {
  if (bytes < 1024) return CountOf(bytes, "byte");
  return absl::StrCat(Size(bytes), " (", bytes, " bytes)");
}

std::string VolumesText(const std::vector<v1::Volume>& volumes,
                        const std::vector<v1::VolumeStats>& stats,
                        std::optional<absl::Time> now) {
  std::vector<Table::Column> columns = {
      {"NAME"}, {"SIZE", Align::kRight}, {"ALLOCATOR"}, {"ACCESS"}};
  const bool sources =
      std::any_of(volumes.begin(), volumes.end(),
                  [](const v1::Volume& one) { return !one.source().empty(); });
  if (sources) columns.push_back({"SOURCE"});
  const bool states = AnyUnusable(volumes);
  if (states) columns.push_back({"STATE"});
  if (!stats.empty()) {
    for (const char* title :
         {"DATA", "STORED", "MEMORY", "OWN", "RATIO", "CLIENTS"}) {
      columns.push_back({title, Align::kRight});
    }
  }
  if (now.has_value()) columns.push_back({"EXPIRES"});
  columns.push_back({"LABELS"});
  Table table(columns);
  for (size_t i = 0; i < volumes.size(); ++i) {
    const v1::Volume& volume = volumes[i];
    std::vector<std::string> row = {volume.name(), Size(volume.size_bytes()),
                                    AllocatorName(volume.allocator()),
                                    volume.read_only() ? "ro" : "rw"};
    if (sources) row.push_back(volume.source().empty() ? "-" : volume.source());
    if (states) row.push_back(StateText(volume.state()));
    if (!stats.empty()) {
      row.push_back(Size(stats[i].logical_bytes()));
      row.push_back(Size(stats[i].stored_bytes()));
      row.push_back(Size(stats[i].memory_bytes()));
      row.push_back(Size(stats[i].own_bytes()));
      row.push_back(Ratio(stats[i].ratio()));
      row.push_back(absl::StrCat(stats[i].attached_clients()));
    }
    if (now.has_value()) row.push_back(ExpiryText(volume, *now));
    row.push_back(Labels(volume));
    table.AddRow(std::move(row));
  }
  return table.Render();
}

// "1000 operations/s, 64 MiB/s, 4 NBD connections"; "" without any.
std::string UsageText(const v1::UsageLimits& limits) {
  std::vector<std::string> parts;
  const auto add = [&](int64_t value, const char* what, bool is_size) {
    if (value == 0) return;
    parts.push_back(value < 0 ? absl::StrCat("no limit of ", what)
                    : is_size ? absl::StrCat(Size(value), " of ", what)
                              : absl::StrCat(value, " ", what));
  };
  add(limits.iops_total(), "operations/s", false);
  add(limits.iops_total_max(), "operations at once", false);
  add(limits.bps_total(), "data/s", true);
  add(limits.bps_total_max(), "data at once", true);
  add(limits.io_streams(), "Io streams", false);
  add(limits.nbd_connections(), "NBD connections", false);
  return absl::StrJoin(parts, ", ");
}

std::string VolumeText(const v1::Volume& volume, absl::Time now) {
  Fields fields;
  fields.Add("Name", volume.name());
  fields.Add("Size", FormatBytes(volume.size_bytes()));
  fields.Add("Allocator", AllocatorName(volume.allocator()));
  fields.Add("Frames", absl::StrCat(Size(volume.min_frame_bytes()), " to ",
                                    Size(volume.max_frame_bytes())));
  fields.Add("Levels", absl::StrCat(volume.zstd_level(), " writing, ",
                                    volume.merge_zstd_level(), " merging"));
  fields.Add("Memory limit", Limit(volume.memory_limit_bytes()));
  const std::string limits = UsageText(volume.limits());
  if (!limits.empty()) fields.Add("Limits", limits);
  fields.Add("Access", volume.read_only() ? "read-only" : "read-write");
  if (!IsUsable(volume.state())) {
    fields.Add("State", StateText(volume.state()));
  }
  if (!volume.source().empty()) fields.Add("Source", volume.source());
  fields.Add("Time to live", TtlText(volume, now));
  fields.Add("Labels", volume.labels().empty() ? "none" : Labels(volume));
  if (volume.has_create_time()) {
    fields.Add("Created", TimeText(volume.create_time()));
  }
  if (volume.has_update_time()) {
    fields.Add("Changed", TimeText(volume.update_time()));
  }
  if (!volume.etag().empty()) fields.Add("Etag", volume.etag());
  if (!volume.uid().empty()) fields.Add("Uid", volume.uid());
  return fields.Render();
}

std::string StatsText(const std::string& name, const v1::VolumeStats& stats) {
  Fields fields;
  fields.Add("Name", name);
  fields.Add("Size", FormatBytes(stats.size_bytes()));
  fields.Add("Data", FormatBytes(stats.logical_bytes()));
  fields.Add("Stored", FormatBytes(stats.stored_bytes()));
  fields.Add("Ratio", Ratio(stats.ratio()));
  fields.Add("Memory", FormatBytes(stats.memory_bytes()));
  fields.Add("Own", FormatBytes(stats.own_bytes()));
  fields.Add("Shared", FormatBytes(stats.shared_bytes()));
  if (stats.restoring_bytes() > 0) {
    fields.Add("Restoring",
               absl::StrCat(FormatBytes(stats.restoring_bytes()), " to read"));
  }
  fields.Add("Memory limit", Limit(stats.memory_limit_bytes()));
  const std::string limits = UsageText(stats.limits());
  if (!limits.empty()) {
    fields.Add("Limits", limits);
    fields.Add("Throttled",
               absl::StrCat(stats.io().throttled_operations(), " operations, ",
                            stats.throttled_now(), " now"));
  }
  fields.Add("Hot",
             absl::StrCat(Size(stats.hot_bytes()), ", of which ",
                          Size(stats.dirty_bytes()), " not yet compressed"));
  fields.Add("Dead", Size(stats.dead_bytes()));
  fields.Add("Attached", CountOf(stats.attached_clients(), "client"));
  return absl::StrCat(fields.Render(), "\n", BlocksText(stats.blocks()), "\n",
                      FramesText(stats), "\n", IoText(stats.io()), "\n",
                      WorkText(stats.io()));
}

std::string SnapshotsText(const std::vector<v1::Snapshot>& snapshots) {
  std::vector<Table::Column> columns = {
      {"NAME"}, {"SOURCE"}, {"SIZE", Align::kRight}, {"CREATED"}};
  const bool states = AnyUnusable(snapshots);
  if (states) columns.push_back({"STATE"});
  columns.push_back({"LABELS"});
  Table table(columns);
  for (const v1::Snapshot& snapshot : snapshots) {
    std::vector<std::string> row = {
        absl::StrCat("@", snapshot.name()), snapshot.source(),
        Size(snapshot.size_bytes()), TimeText(snapshot.create_time())};
    if (states) row.push_back(StateText(snapshot.state()));
    row.push_back(Labels(snapshot));
    table.AddRow(std::move(row));
  }
  return table.Render();
}

std::string SnapshotText(const v1::Snapshot& snapshot) {
  const v1::SnapshotStats& stats = snapshot.stats();
  Fields fields;
  fields.Add("Name", absl::StrCat("@", snapshot.name()));
  fields.Add("Source", absl::StrCat(snapshot.source(), " (uid ",
                                    snapshot.source_uid(), ")"));
  if (!IsUsable(snapshot.state())) {
    fields.Add("State", StateText(snapshot.state()));
  }
  fields.Add("Size", FormatBytes(snapshot.size_bytes()));
  fields.Add("Data", FormatBytes(stats.logical_bytes()));
  fields.Add("Memory", FormatBytes(stats.memory_bytes()));
  fields.Add("Own", FormatBytes(stats.own_bytes()));
  fields.Add("Shared", FormatBytes(stats.shared_bytes()));
  fields.Add("Labels", snapshot.labels().empty() ? "none" : Labels(snapshot));
  fields.Add("Created", TimeText(snapshot.create_time()));
  fields.Add("Etag", snapshot.etag());
  fields.Add("Uid", snapshot.uid());
  return fields.Render();
}

std::string ClientsText(const std::vector<v1::AttachedClient>& clients,
                        absl::Time now, bool wide) {
  std::vector<Table::Column> columns = {{"PROTOCOL"},
                                        {"ADDRESS"},
                                        {"SINCE"},
                                        {"FOR", Align::kRight},
                                        {"READ", Align::kRight},
                                        {"WRITTEN", Align::kRight}};
  if (wide) {
    columns.push_back({"READS", Align::kRight});
    columns.push_back({"WRITES", Align::kRight});
  }
  Table table(std::move(columns));
  for (const v1::AttachedClient& client : clients) {
    const absl::Time since = ToTime(client.attach_time());
    std::vector<std::string> cells = {client.protocol(),
                                      client.address(),
                                      TimeText(client.attach_time()),
                                      DurationText(now - since),
                                      Size(client.read_bytes()),
                                      Size(client.written_bytes())};
    if (wide) {
      cells.push_back(absl::StrCat(client.read_operations()));
      cells.push_back(absl::StrCat(client.write_operations()));
    }
    table.AddRow(std::move(cells));
  }
  return table.Render();
}

std::string ServerText(const v1::GetServerInfoResponse& info, absl::Time now) {
  const absl::Duration up = now - ToTime(info.start_time());
  const auto used = static_cast<double>(info.memory_used_bytes());
  const auto limit = static_cast<double>(info.memory_limit_bytes());
  Fields fields;
  fields.Add("Version", info.version());
  fields.Add("Up", absl::StrCat(DurationText(up), " since ",
                                TimeText(info.start_time())));
  fields.Add("Addresses", absl::StrJoin(info.grpc_addresses(), ", "));
  fields.Add("NBD",
             info.nbd_addresses().empty()
                 ? "off"
                 : absl::StrCat(absl::StrJoin(info.nbd_addresses(), ", "),
                                info.nbd_tls() ? " (TLS only)" : ""));
  if (!info.vhost_user_dir().empty()) {
    fields.Add("vhost-user", info.vhost_user_dir());
  }
  fields.Add("Volumes",
             absl::StrCat(info.volumes(), " of at most ", info.max_volumes()));
  fields.Add("Snapshots", absl::StrCat(info.snapshots()));
  fields.Add("Memory limit", FormatBytes(info.memory_limit_bytes()));
  fields.Add("Memory used", absl::StrCat(FormatBytes(info.memory_used_bytes()),
                                         ", ", Percent(used, limit)));
  fields.Add("Allocated", FormatBytes(info.memory_allocated_bytes()));
  fields.Add("Shared", FormatBytes(info.shared_bytes()));
  if (info.restoring_bytes() > 0) {
    fields.Add("Restoring",
               absl::StrCat(FormatBytes(info.restoring_bytes()), " to read"));
  }
  fields.Add("Resident", FormatBytes(info.memory_resident_bytes()));
  fields.Add(
      "Hot cache",
      absl::StrCat(Size(info.hot_cache_bytes()), " of ",
                   Size(info.hot_cache_limit_bytes()), ", of which ",
                   Size(info.hot_cache_dirty_bytes()), " not yet compressed"));
  fields.Add("Window",
             absl::StrCat(info.io_window_operations(), " operations, ",
                          Size(info.io_window_bytes()), "; at most ",
                          Size(info.max_data_bytes()), " in one"));
  return fields.Render();
}

}  // namespace ramvol::cli
