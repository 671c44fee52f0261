#include "base/metrics/process_memory.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace ramvol::metrics {
namespace {

// Deepest nesting of cgroups that is followed.
constexpr int kMaxCgroupDepth = 64;

std::optional<uint64_t> ReadNumber(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  uint64_t number = 0;
  // "max" means no limit.
  if (!(file >> word) || !absl::SimpleAtoi(word, &number)) return std::nullopt;
  return number;
}

std::optional<uint64_t> RamBytes(const std::string& root) {
  std::ifstream file(root + "/proc/meminfo");
  std::string key;
  uint64_t kib = 0;
  std::string unit;
  while (file >> key >> kib >> unit) {
    if (key == "MemTotal:") return kib * 1024;
  }
  return std::nullopt;
}

std::optional<uint64_t> Least(std::optional<uint64_t> a,
                              std::optional<uint64_t> b) {
  if (!a.has_value()) return b;
  if (!b.has_value()) return a;
  return std::min(*a, *b);
}

// The least number in the files `name` of `group` and all its parents, up to
// `mount`. In a container, `group` may be the host's path and not exist here;
// then only the file at the mount counts.
std::optional<uint64_t> LeastUpwards(const std::string& mount,
                                     std::string group,
                                     const std::string& name) {
  std::optional<uint64_t> least;
  for (int depth = 0; depth < kMaxCgroupDepth; ++depth) {
    least = Least(least, ReadNumber(absl::StrCat(mount, group, "/", name)));
    const size_t slash = group.rfind('/');
    if (slash == std::string::npos) break;
    group.resize(slash);
  }
  return least;
}

// cgroups(7): a line is "hierarchy:controllers:path"; for v2 "0::path".
std::optional<uint64_t> CgroupLimitBytes(const std::string& root) {
  std::optional<uint64_t> least;
  std::ifstream file(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    const std::vector<std::string> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::string group = parts[2] == "/" ? "" : parts[2];
    if (parts[0] == "0" && parts[1].empty()) {
      least = Least(least,
                    LeastUpwards(root + "/sys/fs/cgroup", group, "memory.max"));
    }
    const std::vector<std::string> controllers = absl::StrSplit(parts[1], ',');
    if (std::find(controllers.begin(), controllers.end(), "memory") !=
        controllers.end()) {
      least = Least(least, LeastUpwards(root + "/sys/fs/cgroup/memory", group,
                                        "memory.limit_in_bytes"));
    }
  }
  return least;
}

}  // namespace

uint64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t total_pages = 0;
  uint64_t resident_pages = 0;
  if (!(file >> total_pages >> resident_pages)) return 0;
  return resident_pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

std::optional<uint64_t> AvailableMemoryBytes(const std::string& root) {
  return Least(RamBytes(root), CgroupLimitBytes(root));
}

}  // namespace ramvol::metrics
