#include "server/status/volume_table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "server/engine/volume.h"

namespace ramvol::status {
namespace {

constexpr size_t kVolumesAtOnce = 1000;
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

double ToDouble(uint64_t value) { return static_cast<double>(value); }

constexpr std::array<SortKey, 13> kSortKeys = {{
    {"size_bytes", [](const VolumeRow& r) { return ToDouble(r.size_bytes); }},
    {"logical_bytes",
     [](const VolumeRow& r) { return ToDouble(r.logical_bytes); }},
    {"stored_bytes",
     [](const VolumeRow& r) { return ToDouble(r.stored_bytes); }},
    {"memory_bytes",
     [](const VolumeRow& r) { return ToDouble(r.memory_bytes); }},
    {"own_bytes", [](const VolumeRow& r) { return ToDouble(r.own_bytes); }},
    {"ratio", [](const VolumeRow& r) { return r.ratio(); }},
    {"hot_bytes", [](const VolumeRow& r) { return ToDouble(r.hot_bytes); }},
    {"attached_clients",
     [](const VolumeRow& r) { return ToDouble(r.attached_clients); }},
    {"reads_per_second", [](const VolumeRow& r) { return r.reads_rate; }},
    {"writes_per_second", [](const VolumeRow& r) { return r.writes_rate; }},
    {"read_bytes_per_second",
     [](const VolumeRow& r) { return r.read_bytes_rate; }},
    {"written_bytes_per_second",
     [](const VolumeRow& r) { return r.written_bytes_rate; }},
    {"failed_operations",
     [](const VolumeRow& r) { return ToDouble(r.failed_operations); }},
}};

VolumeRow RowOf(std::string name, const engine::Volume& volume) {
  const engine::VolumeStats stats = volume.Stats();
  VolumeRow row;
  row.name = std::move(name);
  row.uid = volume.uid();
  row.allocator = volume.options().allocator;
  row.read_only = volume.read_only();
  row.size_bytes = stats.size_bytes;
  row.logical_bytes = stats.logical_bytes;
  row.stored_bytes = stats.stored_bytes;
  row.memory_bytes = stats.memory_bytes;
  row.own_bytes = stats.own_bytes;
  row.memory_limit_bytes = stats.memory_limit_bytes;
  row.hot_bytes = stats.hot_bytes;
  row.attached_clients = static_cast<uint64_t>(stats.attached_clients);
  row.read_operations = stats.read_operations;
  row.write_operations = stats.write_operations;
  row.read_bytes = stats.read_bytes;
  row.written_bytes = stats.written_bytes;
  row.failed_operations = stats.failed_operations;
  return row;
}

// Sets the rates of `row`. `before` is the same volume's row `seconds` ago, or
// null.
void SetRates(const VolumeRow* before, double seconds, VolumeRow* row) {
  const auto rate = [&](uint64_t VolumeRow::* counter) {
    if (before == nullptr) return kUnknown;
    const uint64_t old = before->*counter;
    const uint64_t now = row->*counter;
    return now > old ? ToDouble(now - old) / seconds : 0;
  };
  row->reads_rate = rate(&VolumeRow::read_operations);
  row->writes_rate = rate(&VolumeRow::write_operations);
  row->read_bytes_rate = rate(&VolumeRow::read_bytes);
  row->written_bytes_rate = rate(&VolumeRow::written_bytes);
}

void AddTo(VolumeRow* total, const VolumeRow& row) {
  for (const auto sum :
       {&VolumeRow::size_bytes, &VolumeRow::logical_bytes,
        &VolumeRow::stored_bytes, &VolumeRow::memory_bytes,
        &VolumeRow::own_bytes, &VolumeRow::hot_bytes,
        &VolumeRow::attached_clients, &VolumeRow::failed_operations}) {
    const uint64_t room = std::numeric_limits<uint64_t>::max() - total->*sum;
    total->*sum += std::min(room, row.*sum);
  }
}

// Whether `a` comes before `b`.
bool ComesBefore(const VolumeQuery& query, const VolumeRow* a,
                 const VolumeRow* b) {
  if (query.sort == nullptr) {
    return query.descending ? b->name < a->name : a->name < b->name;
  }
  const double left = query.sort->value(*a);
  const double right = query.sort->value(*b);
  if (std::isnan(left) != std::isnan(right)) return std::isnan(right);
  if (left != right && !std::isnan(left)) {
    return query.descending ? right < left : left < right;
  }
  return a->name < b->name;
}

}  // namespace

double VolumeRow::ratio() const {
  if (stored_bytes == 0) return kUnknown;
  return ToDouble(logical_bytes) / ToDouble(stored_bytes);
}

absl::StatusOr<const SortKey*> FindSortKey(std::string_view name) {
  if (name.empty() || name == "name") return nullptr;
  std::string known = "name";
  for (const SortKey& key : kSortKeys) {
    if (key.name == name) return &key;
    absl::StrAppend(&known, ", ", std::string(key.name));
  }
  return absl::NotFoundError(
      absl::StrCat("sort is \"", std::string(name), "\"; give one of ", known));
}

VolumeTable::VolumeTable(const engine::Engine* engine, LabelSource labels)
    : engine_(engine), labels_(std::move(labels)) {}

std::vector<VolumeRow> VolumeTable::ReadAll() const {
  std::vector<VolumeRow> rows;
  for (;;) {
    auto volumes =
        engine_->List(rows.empty() ? "" : rows.back().name, kVolumesAtOnce);
    for (auto& [name, volume] : volumes) {
      rows.push_back(RowOf(std::move(name), *volume));
    }
    if (volumes.size() < kVolumesAtOnce) return rows;
  }
}

void VolumeTable::Refresh(int64_t now_ns) {
  if (now_ns < fresh_until_ns_) return;
  const int64_t age_ns = now_ns - made_ns_;
  const int64_t began_ns = SteadyNowNs();
  std::vector<VolumeRow> rows = ReadAll();
  absl::flat_hash_map<uint64_t, const VolumeRow*> before;
  if (age_ns <= kMaxRateNs) {
    for (const VolumeRow& row : rows_) before.emplace(row.uid, &row);
  }
  for (VolumeRow& row : rows) {
    const auto found = before.find(row.uid);
    SetRates(found == before.end() ? nullptr : found->second,
             static_cast<double>(age_ns) / 1e9, &row);
  }
  rows_ = std::move(rows);
  made_ns_ = now_ns;
  const int64_t making_ns = SteadyNowNs() - began_ns;
  fresh_until_ns_ = now_ns + std::max(kMaxAgeNs, making_ns * kMakingDivisor);
}

bool VolumeTable::Matches(const VolumeRow& row,
                          const std::string& filter) const {
  if (absl::StrContains(row.name, filter)) return true;
  if (!absl::StrContains(filter, '=')) return false;
  const Labels labels = labels_(row.name);
  return std::any_of(labels.begin(), labels.end(), [&](const auto& label) {
    const std::string text =
        absl::AsciiStrToLower(absl::StrCat(label.first, "=", label.second));
    return absl::StrContains(text, filter);
  });
}

VolumePage VolumeTable::Find(const VolumeQuery& query) const {
  VolumePage page;
  const std::string filter = absl::AsciiStrToLower(query.filter);
  for (const VolumeRow& row : rows_) {
    if (!filter.empty() && !Matches(row, filter)) continue;
    page.rows.push_back(&row);
    AddTo(&page.total, row);
  }
  page.matching = page.rows.size();
  const size_t begin = std::min(query.offset, page.matching);
  const size_t end = begin + std::min(query.limit, page.matching - begin);
  std::partial_sort(
      page.rows.begin(), page.rows.begin() + static_cast<ptrdiff_t>(end),
      page.rows.end(), [&query](const VolumeRow* a, const VolumeRow* b) {
        return ComesBefore(query, a, b);
      });
  page.rows = {page.rows.begin() + static_cast<ptrdiff_t>(begin),
               page.rows.begin() + static_cast<ptrdiff_t>(end)};
  return page;
}

void VolumeTable::ForgetIfUnused(int64_t now_ns) {
  if (rows_.empty() || now_ns - made_ns_ < kMaxRateNs) return;
  rows_ = {};
  fresh_until_ns_ = 0;
}

}  // namespace ramvol::status
