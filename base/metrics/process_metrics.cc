#include "base/metrics/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/metrics/family.h"
#include "base/read_file.h"
#include "base/version.h"
#include "prometheus/metric_type.h"

namespace ramvol::metrics {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

// Fields of /proc/self/stat behind the program's name. proc(5) counts from 1,
// and the name is field 2. The name may contain spaces and ")", so counting
// starts after the last ")".
constexpr size_t kUserTicks = 14 - 3;
constexpr size_t kSystemTicks = 15 - 3;
constexpr size_t kStartTicks = 22 - 3;
constexpr size_t kVirtualBytes = 23 - 3;
constexpr size_t kResidentPages = 24 - 3;

class ProcStat {
 public:
  ProcStat() {
    const std::string text = ReadFile("/proc/self/stat").value_or("");
    const size_t name_end = text.rfind(") ");
    if (name_end != std::string::npos) {
      fields_ = absl::StrSplit(text.substr(name_end + 2), ' ');
    }
  }
  // 0 when the kernel does not tell.
  double Get(size_t field) const {
    double value = 0;
    if (field >= fields_.size()) return 0;
    return absl::SimpleAtod(fields_[field], &value) ? value : 0;
  }
  double Seconds(size_t field) const {
    return Get(field) / static_cast<double>(sysconf(_SC_CLK_TCK));
  }

 private:
  std::vector<std::string> fields_;
};

double BootTimeSeconds() {
  std::ifstream file("/proc/stat");
  std::string line;
  while (std::getline(file, line)) {
    double seconds = 0;
    if (line.rfind("btime ", 0) == 0 &&
        absl::SimpleAtod(line.substr(6), &seconds)) {
      return seconds;
    }
  }
  return 0;
}

double OpenFiles() {
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/self/fd", error);
  if (error) return 0;
  // Not the descriptor that lists the directory.
  return static_cast<double>(std::distance(begin(files), end(files))) - 1;
}

double MaxFiles() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0
             ? static_cast<double>(limit.rlim_cur)
             : 0;
}

MetricFamily Number(const char* name, const char* help, double value,
                    MetricType type = MetricType::Gauge) {
  MetricFamily family = Family(name, help, type);
  prometheus::ClientMetric& metric = family.metric.emplace_back();
  (type == MetricType::Gauge ? metric.gauge.value : metric.counter.value) =
      value;
  return family;
}

MetricFamily BuildInfo() {
  MetricFamily family =
      Family("ramvol_build_info", "Always 1; the labels tell the version.",
             MetricType::Gauge);
  AddGauge(family, {{"version", kVersion}}, 1);
  return family;
}

}  // namespace

std::vector<MetricFamily> ProcessMetrics::Collect() const {
  const ProcStat stat;
  const double page_bytes = static_cast<double>(sysconf(_SC_PAGESIZE));
  return {
      BuildInfo(),
      Number("process_start_time_seconds",
             "When the process began, in seconds since 1970.",
             BootTimeSeconds() + stat.Seconds(kStartTicks)),
      Number("process_cpu_seconds_total",
             "Time on CPUs, in user and in system mode.",
             stat.Seconds(kUserTicks) + stat.Seconds(kSystemTicks),
             MetricType::Counter),
      Number("process_open_fds", "File descriptors that are open.",
             OpenFiles()),
      Number("process_max_fds", "Most file descriptors that may be open.",
             MaxFiles()),
      Number("process_resident_memory_bytes", "Resident size of the process.",
             stat.Get(kResidentPages) * page_bytes),
      Number("process_virtual_memory_bytes", "Address space of the process.",
             stat.Get(kVirtualBytes)),
  };
}

}  // namespace ramvol::metrics
