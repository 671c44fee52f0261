#include "server/status/status_json.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/json.h"
#include "base/metrics/process_memory.h"
#include "base/version.h"

namespace ramvol::status {
namespace {

using engine::EngineStats;

uint64_t Ms(absl::Time time) {
  return static_cast<uint64_t>(std::max<int64_t>(0, absl::ToUnixMillis(time)));
}

void Add(JsonWriter& json, std::string_view key, uint64_t value) {
  json.Key(key).Number(value);
}

void AddStrings(JsonWriter& json, std::string_view key,
                const std::vector<std::string>& values) {
  json.Key(key).BeginArray();
  for (const std::string& value : values) json.String(value);
  json.EndArray();
}

void AddServer(JsonWriter& json, absl::Time start, absl::Time now,
               const ServerState& state) {
  json.Key("server").BeginObject();
  json.Key("version").String(kVersion);
  Add(json, "start_time_ms", Ms(start));
  Add(json, "time_ms", Ms(now));
  json.Key("ready").Bool(state.why_not_ready.empty());
  json.Key("why_not_ready").String(state.why_not_ready);
  AddStrings(json, "grpc_addresses", state.grpc_addresses);
  AddStrings(json, "nbd_addresses", state.nbd_addresses);
  json.EndObject();
}

void AddMemory(JsonWriter& json, const EngineStats& stats,
               const ClientMemory::Stats& clients) {
  json.Key("memory").BeginObject();
  Add(json, "limit_bytes", stats.memory_limit_bytes);
  Add(json, "used_bytes", stats.memory_used_bytes);
  Add(json, "allocated_bytes", stats.memory_allocated_bytes);
  Add(json, "shared_bytes", stats.shared_bytes);
  Add(json, "resident_bytes", metrics::ResidentBytes());
  json.EndObject();
  json.Key("client_memory").BeginObject();
  Add(json, "limit_bytes", clients.limit_bytes);
  Add(json, "used_bytes", clients.used_bytes);
  Add(json, "waiting_clients", clients.waiting);
  Add(json, "clients_sent_away", clients.sent_away);
  json.EndObject();
  json.Key("hot_cache").BeginObject();
  Add(json, "limit_bytes", stats.hot_cache_limit_bytes);
  Add(json, "used_bytes", stats.hot_cache_bytes);
  Add(json, "dirty_bytes", stats.hot_cache_dirty_bytes);
  Add(json, "hits", stats.hot_cache_hits);
  Add(json, "misses", stats.hot_cache_misses);
  Add(json, "evictions", stats.hot_cache_evictions);
  json.EndObject();
}

void AddWork(JsonWriter& json, const EngineStats& stats) {
  json.Key("operations").BeginObject();
  for (size_t i = 0; i < engine::kOperations; ++i) {
    Add(json, engine::kOperationNames[i], stats.operations[i].count());
  }
  json.EndObject();
  Add(json, "read_bytes", stats.read_bytes);
  Add(json, "written_bytes", stats.written_bytes);
  Add(json, "throttled_writes", stats.throttled_writes);
  Add(json, "corrupt_frames", stats.corrupt_frames);
  json.Key("errors").BeginArray();
  for (size_t i = 0; i < engine::kErrorReasons.size(); ++i) {
    if (stats.errors[i] == 0) continue;
    json.BeginObject().Key("reason").String(engine::kErrorReasons[i]);
    Add(json, "count", stats.errors[i]);
    json.EndObject();
  }
  json.EndArray();
}

void AddConnections(JsonWriter& json, const ServerState& state) {
  json.Key("connections").BeginObject();
  Add(json, "grpc", state.grpc_connections);
  Add(json, "nbd", state.nbd_connections);
  Add(json, "vhost_user", state.vhost_user_connections);
  Add(json, "io_streams", state.io_streams);
  json.EndObject();
  json.Key("turned_away").BeginArray();
  for (const ServerState::TurnedAway& away : state.turned_away) {
    json.BeginObject().Key("protocol").String(away.protocol);
    json.Key("cause").String(away.cause);
    Add(json, "count", away.count);
    json.EndObject();
  }
  json.EndArray();
}

// A column of the series.
struct Column {
  std::string_view name;
  void (*add)(JsonWriter& json, const Sample& sample);
};

template <size_t kOperation>
void AddOperations(JsonWriter& json, const Sample& sample) {
  json.Decimal(sample.operations[kOperation]);
}

template <double Sample::* kField>
void AddDecimal(JsonWriter& json, const Sample& sample) {
  json.Decimal(sample.*kField);
}

template <uint64_t Sample::* kField>
void AddNumber(JsonWriter& json, const Sample& sample) {
  json.Number(sample.*kField);
}

constexpr std::array<Column, 19> kColumns = {{
    {"time_ms", [](JsonWriter& json,
                   const Sample& sample) { json.Number(Ms(sample.time)); }},
    {"read_bytes_per_second", &AddDecimal<&Sample::read_bytes>},
    {"written_bytes_per_second", &AddDecimal<&Sample::written_bytes>},
    {"reads_per_second", &AddOperations<0>},
    {"writes_per_second", &AddOperations<1>},
    {"trims_per_second", &AddOperations<2>},
    {"zeroes_per_second", &AddOperations<3>},
    {"flushes_per_second", &AddOperations<4>},
    {"extents_per_second", &AddOperations<5>},
    {"errors_per_second", &AddDecimal<&Sample::errors>},
    {"read_p50_seconds", &AddDecimal<&Sample::read_p50>},
    {"read_p99_seconds", &AddDecimal<&Sample::read_p99>},
    {"write_p50_seconds", &AddDecimal<&Sample::write_p50>},
    {"write_p99_seconds", &AddDecimal<&Sample::write_p99>},
    {"hot_cache_hit_ratio", &AddDecimal<&Sample::hot_cache_hit_ratio>},
    {"memory_used_bytes", &AddNumber<&Sample::memory_used_bytes>},
    {"hot_cache_bytes", &AddNumber<&Sample::hot_cache_bytes>},
    {"hot_cache_dirty_bytes", &AddNumber<&Sample::hot_cache_dirty_bytes>},
    {"client_memory_used_bytes", &AddNumber<&Sample::client_memory_used_bytes>},
}};

std::string_view NameOf(engine::Allocator allocator) {
  switch (allocator) {
    case engine::Allocator::kSparse:
      return "SPARSE";
    case engine::Allocator::kMalloc:
      return "MALLOC";
    case engine::Allocator::kZstd:
      break;
  }
  return "ZSTD";
}

// Adds the fields that volumes and sums of volumes have.
void AddAmounts(JsonWriter& json, const VolumeRow& row) {
  Add(json, "size_bytes", row.size_bytes);
  Add(json, "logical_bytes", row.logical_bytes);
  Add(json, "stored_bytes", row.stored_bytes);
  Add(json, "memory_bytes", row.memory_bytes);
  Add(json, "own_bytes", row.own_bytes);
  json.Key("ratio").Decimal(row.ratio());
  Add(json, "hot_bytes", row.hot_bytes);
  Add(json, "attached_clients", row.attached_clients);
  Add(json, "failed_operations", row.failed_operations);
}

void AddRow(JsonWriter& json, const VolumeRow& row, const Labels& labels) {
  json.BeginObject().Key("name").String(row.name);
  json.Key("labels").BeginObject();
  for (const auto& [key, value] : labels) json.Key(key).String(value);
  json.EndObject();
  json.Key("allocator").String(NameOf(row.allocator));
  json.Key("read_only").Bool(row.read_only);
  Add(json, "memory_limit_bytes", row.memory_limit_bytes);
  AddAmounts(json, row);
  Add(json, "read_operations", row.read_operations);
  Add(json, "write_operations", row.write_operations);
  Add(json, "read_bytes", row.read_bytes);
  Add(json, "written_bytes", row.written_bytes);
  json.Key("reads_per_second").Decimal(row.reads_rate);
  json.Key("writes_per_second").Decimal(row.writes_rate);
  json.Key("read_bytes_per_second").Decimal(row.read_bytes_rate);
  json.Key("written_bytes_per_second").Decimal(row.written_bytes_rate);
  json.EndObject();
}

std::string Finish(JsonWriter& json) {
  json.EndObject();
  return json.Take() + "\n";
}

}  // namespace

std::string StatusJson(absl::Time start, absl::Time now,
                       const engine::Engine& engine,
                       const ClientMemory::Stats& client_memory,
                       const ServerState& state) {
  const EngineStats stats = engine.Stats();
  JsonWriter json;
  json.BeginObject();
  AddServer(json, start, now, state);
  Add(json, "volumes", stats.volumes);
  Add(json, "snapshots", stats.snapshots);
  Add(json, "max_volumes", static_cast<uint64_t>(engine.options().max_volumes));
  AddMemory(json, stats, client_memory);
  AddWork(json, stats);
  AddConnections(json, state);
  return Finish(json);
}

std::string SeriesJson(absl::Time start, const std::vector<Sample>& samples) {
  JsonWriter json;
  json.BeginObject();
  Add(json, "start_time_ms", Ms(start));
  Add(json, "interval_ms",
      static_cast<uint64_t>(absl::ToInt64Milliseconds(History::kInterval)));
  json.Key("columns").BeginArray();
  for (const Column& column : kColumns) json.String(column.name);
  json.EndArray().Key("rows").BeginArray();
  for (const Sample& sample : samples) {
    json.BeginArray();
    for (const Column& column : kColumns) column.add(json, sample);
    json.EndArray();
  }
  json.EndArray();
  return Finish(json);
}

std::string VolumesJson(const VolumeQuery& query, const VolumePage& page,
                        const LabelSource& labels) {
  JsonWriter json;
  json.BeginObject();
  json.Key("sort").String(query.sort == nullptr ? "name" : query.sort->name);
  json.Key("order").String(query.descending ? "desc" : "asc");
  Add(json, "offset", query.offset);
  Add(json, "limit", query.limit);
  Add(json, "matching", page.matching);
  json.Key("total").BeginObject();
  AddAmounts(json, page.total);
  json.EndObject().Key("volumes").BeginArray();
  for (const VolumeRow* row : page.rows) AddRow(json, *row, labels(row->name));
  json.EndArray();
  return Finish(json);
}

std::string ErrorJson(const std::string& message) {
  JsonWriter json;
  json.BeginObject().Key("error").String(message);
  return Finish(json);
}

}  // namespace ramvol::status
