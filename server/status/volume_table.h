// All volumes with their statistics and rates: sorted, filtered, page by page.
#ifndef RAMVOL_SERVER_STATUS_VOLUME_TABLE_H_
#define RAMVOL_SERVER_STATUS_VOLUME_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "server/engine/types/options.h"
#include "server/engine/types/stats.h"

namespace ramvol::status {

using Labels = std::map<std::string, std::string>;
// Returns the labels of a volume, none if it does not exist. Thread-safe.
using LabelSource = std::function<Labels(const std::string& volume)>;

struct VolumeRow {
  std::string name;
  uint64_t uid = 0;
  engine::Allocator allocator = engine::Allocator::kZstd;
  bool read_only = false;
  uint64_t size_bytes = 0;
  uint64_t logical_bytes = 0;
  uint64_t stored_bytes = 0;
  uint64_t memory_bytes = 0;
  uint64_t own_bytes = 0;
  uint64_t memory_limit_bytes = 0;  // 0: none.
  uint64_t hot_bytes = 0;
  uint64_t attached_clients = 0;
  uint64_t read_operations = 0;
  uint64_t write_operations = 0;
  uint64_t read_bytes = 0;
  uint64_t written_bytes = 0;
  uint64_t failed_operations = 0;
  // Per second, since the previous Refresh. NaN if that was too long ago, or
  // the volume did not exist then.
  double reads_rate = 0;
  double writes_rate = 0;
  double read_bytes_rate = 0;
  double written_bytes_rate = 0;

  // Logical by stored bytes; NaN when nothing is stored.
  double ratio() const;
};

// A number to sort rows by.
struct SortKey {
  std::string_view name;
  // Rows with NaN come last. Rows with equal values are sorted by name.
  double (*value)(const VolumeRow& row);
};

struct VolumeQuery {
  // Rows match if their name contains it or, when it contains a '=', if a label
  // such as "team=ci" does. Case does not matter.
  std::string filter = {};
  const SortKey* sort = nullptr;  // Null: by name.
  bool descending = false;
  size_t offset = 0;
  size_t limit = 100;
};

// Finds the key called `name`; nullptr for "name" and "". NOT_FOUND lists all
// keys.
absl::StatusOr<const SortKey*> FindSortKey(std::string_view name);

struct VolumePage {
  std::vector<const VolumeRow*> rows;  // Valid until the next Refresh.
  size_t matching = 0;                 // On all pages.
  VolumeRow total;                     // Sums over all matching rows.
};

// Not thread-safe.
class VolumeTable {
 public:
  // How old the rows may become. They may become older if reading them takes
  // long, so that it takes at most 1/kMakingDivisor of the time.
  static constexpr int64_t kMaxAgeNs = 1'000'000'000;
  static constexpr int64_t kMakingDivisor = 20;
  // The longest time between two Refreshes for which there are rates.
  static constexpr int64_t kMaxRateNs = 30'000'000'000;

  // Borrows `engine`.
  VolumeTable(const engine::Engine* engine, LabelSource labels);

  // Reads all volumes anew if the rows are too old. Times come from
  // SteadyNowNs.
  void Refresh(int64_t now_ns);
  VolumePage Find(const VolumeQuery& query) const;
  // Frees the rows if nobody has refreshed them for kMaxRateNs.
  void ForgetIfUnused(int64_t now_ns);

 private:
  std::vector<VolumeRow> ReadAll() const;
  bool Matches(const VolumeRow& row, const std::string& filter) const;

  const engine::Engine* const engine_;
  const LabelSource labels_;
  std::vector<VolumeRow> rows_;  // In the order of names.
  int64_t made_ns_ = 0;
  int64_t fresh_until_ns_ = 0;
};

}  // namespace ramvol::status

#endif  // RAMVOL_SERVER_STATUS_VOLUME_TABLE_H_
