#include "client/cli/output/top_text.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "base/size.h"
#include "client/cli/output/progress.h"
#include "client/cli/output/table.h"
#include "client/cli/output/words.h"

namespace ramvol::cli {
namespace {

constexpr size_t kMinNameWidth = 12;
// The table's title line, and the line that tells how many volumes are left
// out.
constexpr int kTitleAndRest = 2;

std::string Size(double bytes) {
  return FormatRoundedSize(static_cast<uint64_t>(std::max(bytes, 0.0)));
}

// "0", "0.4", "999", "12.3k", "1.2M".
std::string Rate(double rate) {
  if (rate < 0.05) return "0";
  if (rate < 10) return absl::StrFormat("%.1f", rate);
  if (rate < 999.5) return absl::StrFormat("%.0f", rate);
  if (rate < 999'950) return absl::StrFormat("%.1fk", rate / 1e3);
  return absl::StrFormat("%.1fM", rate / 1e6);
}

std::string Percent(double part) {
  return part < 0 ? "-" : absl::StrFormat("%.0f%%", 100 * part);
}

std::string Ratio(double ratio) {
  return ratio > 0 ? absl::StrFormat("%.2f", ratio) : "-";
}

double LatencyOf(const TopLine& line) {
  return std::max(line.read.microseconds, line.write.microseconds);
}

double BytesPerSecond(const TopLine& line) {
  return line.read.bytes_per_second + line.write.bytes_per_second;
}

double SortValue(TopOrder order, const TopLine& line) {
  switch (order) {
    case TopOrder::kOperations:
      return line.operations_per_second();
    case TopOrder::kBytes:
      return BytesPerSecond(line);
    case TopOrder::kLatency:
      return LatencyOf(line);
    case TopOrder::kMemory:
      return static_cast<double>(line.stats.memory_bytes());
    case TopOrder::kRatio:
      return line.stats.ratio();
    case TopOrder::kName:
      break;
  }
  return 0;
}

std::string Io(const TopRates& rates) {
  return absl::StrCat(Rate(rates.operations_per_second), "/s, ",
                      Size(rates.bytes_per_second), "/s, ",
                      LatencyText(rates.microseconds));
}

std::string Header(const TopView& view, const std::string& address) {
  const v1::GetServerInfoResponse& server = view.server;
  const auto used = static_cast<double>(server.memory_used_bytes());
  const auto limit = static_cast<double>(server.memory_limit_bytes());
  const absl::Time start = absl::FromUnixSeconds(server.start_time().seconds());
  const TopLine& total = view.total;
  Fields fields;
  fields.Add("Server", absl::StrCat(address, ", ramvold ", server.version(),
                                    ", up ", FormatClock(view.time - start),
                                    ", ", CountOf(server.volumes(), "volume")));
  fields.Add(
      "Memory",
      absl::StrCat(Size(used), " of ", Size(limit), " (",
                   limit > 0 ? Percent(used / limit) : "-", "), resident ",
                   Size(static_cast<double>(server.memory_resident_bytes()))));
  fields.Add("Data",
             absl::StrCat(
                 Size(static_cast<double>(total.stats.logical_bytes())), " in ",
                 Size(static_cast<double>(total.stats.stored_bytes())),
                 " stored, ratio ", Ratio(total.stats.ratio())));
  fields.Add(
      "Cache",
      absl::StrCat(Size(static_cast<double>(server.hot_cache_bytes())), " of ",
                   Size(static_cast<double>(server.hot_cache_limit_bytes())),
                   ", ",
                   Size(static_cast<double>(server.hot_cache_dirty_bytes())),
                   " not yet compressed; reads hit ", Percent(total.hit_rate)));
  fields.Add("Reads", Io(total.read));
  fields.Add("Writes",
             absl::StrCat(Io(total.write), "; others ",
                          Rate(total.other_operations_per_second),
                          "/s; errors ", Rate(total.errors_per_second), "/s"));
  return fields.Render();
}

// In the order of importance: a narrow screen shows only the first columns.
struct TopColumn {
  const char* title;
  std::function<std::string(const TopLine&)> cell;
};

const std::vector<TopColumn>& Columns() {
  static const auto* const columns = new std::vector<TopColumn>{
      {"READ/s",
       [](const TopLine& l) { return Rate(l.read.operations_per_second); }},
      {"WRITE/s",
       [](const TopLine& l) { return Rate(l.write.operations_per_second); }},
      {"READ",
       [](const TopLine& l) { return Size(l.read.bytes_per_second) + "/s"; }},
      {"WRITE",
       [](const TopLine& l) { return Size(l.write.bytes_per_second) + "/s"; }},
      {"R.LAT",
       [](const TopLine& l) { return LatencyText(l.read.microseconds); }},
      {"W.LAT",
       [](const TopLine& l) { return LatencyText(l.write.microseconds); }},
      {"MEMORY",
       [](const TopLine& l) {
         return Size(static_cast<double>(l.stats.memory_bytes()));
       }},
      {"RATIO", [](const TopLine& l) { return Ratio(l.stats.ratio()); }},
      {"HIT", [](const TopLine& l) { return Percent(l.hit_rate); }},
      {"DATA",
       [](const TopLine& l) {
         return Size(static_cast<double>(l.stats.logical_bytes()));
       }},
      {"SIZE",
       [](const TopLine& l) {
         return Size(static_cast<double>(l.stats.size_bytes()));
       }},
      {"OTHER/s",
       [](const TopLine& l) { return Rate(l.other_operations_per_second); }},
      {"ERROR/s", [](const TopLine& l) { return Rate(l.errors_per_second); }},
      {"CLIENTS",
       [](const TopLine& l) {
         return absl::StrCat(l.stats.attached_clients());
       }},
  };
  return *columns;
}

std::string VolumeTable(const std::vector<TopLine>& lines, size_t rows,
                        size_t columns, size_t name_width) {
  std::vector<Table::Column> titles = {{"VOLUME"}};
  for (size_t c = 0; c < columns; ++c) {
    titles.push_back({Columns()[c].title, Align::kRight});
  }
  Table table(titles);
  for (size_t row = 0; row < std::min(rows, lines.size()); ++row) {
    std::string name = lines[row].name;
    if (name.size() > name_width) name = name.substr(0, name_width - 1) + "~";
    std::vector<std::string> cells = {std::move(name)};
    for (size_t c = 0; c < columns; ++c) {
      cells.push_back(Columns()[c].cell(lines[row]));
    }
    table.AddRow(std::move(cells));
  }
  return table.Render();
}

size_t WidestLine(const std::string& text) {
  size_t widest = 0;
  for (const auto& line : absl::StrSplit(text, '\n')) {
    widest = std::max(widest, line.size());
  }
  return widest;
}

// Keeps as many columns as there is room for.
std::string FittingTable(const std::vector<TopLine>& lines, size_t rows,
                         size_t width) {
  const size_t name_width = std::max(width / 4, kMinNameWidth);
  std::string text;
  for (size_t columns = Columns().size();; --columns) {
    text = VolumeTable(lines, rows, columns, name_width);
    if (columns == 0 || WidestLine(text) <= width) return text;
  }
}

// Cuts lines that are too long.
std::string Cut(const std::string& text, size_t width) {
  std::string cut;
  for (const auto& line : absl::StrSplit(text, '\n')) {
    absl::StrAppend(&cut, line.substr(0, width), "\n");
  }
  cut.pop_back();  // Nothing follows the last newline.
  return cut;
}

void SetRates(const TopRates& rates, output::v1::TopRates* to) {
  to->set_operations_per_second(rates.operations_per_second);
  to->set_bytes_per_second(rates.bytes_per_second);
  to->set_latency_seconds(rates.microseconds / 1e6);
}

void SetActivity(const TopLine& line, output::v1::TopActivity* to) {
  to->set_logical_bytes(line.stats.logical_bytes());
  to->set_stored_bytes(line.stats.stored_bytes());
  to->set_memory_bytes(line.stats.memory_bytes());
  to->set_ratio(line.stats.ratio());
  SetRates(line.read, to->mutable_read());
  SetRates(line.write, to->mutable_write());
  to->set_other_operations_per_second(line.other_operations_per_second);
  to->set_errors_per_second(line.errors_per_second);
  if (line.hit_rate >= 0) to->set_cache_hit_rate(line.hit_rate);
  to->set_attached_clients(line.stats.attached_clients());
}

}  // namespace

std::optional<TopOrder> TopOrderOfKey(char key) {
  for (size_t i = 0; i < kTopOrders.size(); ++i) {
    if (kTopOrders[i][0] == key) return static_cast<TopOrder>(i);
  }
  return std::nullopt;
}

void SortTopLines(TopOrder order, std::vector<TopLine>* lines) {
  std::sort(lines->begin(), lines->end(),
            [order](const TopLine& a, const TopLine& b) {
              const double value_a = SortValue(order, a);
              const double value_b = SortValue(order, b);
              return value_a != value_b ? value_a > value_b : a.name < b.name;
            });
}

std::string TopText(const TopView& view, const std::string& address,
                    std::optional<TerminalSize> size) {
  const std::string header = absl::StrCat(Header(view, address), "\n");
  const size_t all = view.volumes.size();
  if (!size.has_value()) {
    return absl::StrCat(header, VolumeTable(view.volumes, all, Columns().size(),
                                            std::string::npos));
  }
  // The last column stays free: some terminals wrap when it is written.
  const auto width = static_cast<size_t>(std::max(size->columns - 1, 1));
  const int header_rows =
      static_cast<int>(std::count(header.begin(), header.end(), '\n'));
  const auto rows = static_cast<size_t>(
      std::max(size->rows - header_rows - kTitleAndRest, 0));
  std::string text =
      absl::StrCat(header, FittingTable(view.volumes, rows, width));
  if (all > rows) absl::StrAppend(&text, "and ", all - rows, " more\n");
  std::string cut = Cut(text, width);
  // On a very low screen, the header is left out, too.
  std::vector<std::string> lines = absl::StrSplit(cut, '\n');
  const auto most = static_cast<size_t>(std::max(size->rows, 0));
  if (lines.size() <= most + 1) return cut;  // The last line is empty.
  lines.resize(most);
  return absl::StrCat(absl::StrJoin(lines, "\n"), "\n");
}

output::v1::TopOutput TopMessage(const TopView& view) {
  output::v1::TopOutput top;
  output::v1::TopServer& server = *top.mutable_server();
  server.set_version(view.server.version());
  server.set_interval_seconds(absl::ToDoubleSeconds(view.interval));
  server.set_volumes(view.server.volumes());
  server.set_memory_limit_bytes(view.server.memory_limit_bytes());
  server.set_memory_used_bytes(view.server.memory_used_bytes());
  server.set_memory_resident_bytes(view.server.memory_resident_bytes());
  server.set_hot_cache_bytes(view.server.hot_cache_bytes());
  SetActivity(view.total, server.mutable_total());
  for (const TopLine& line : view.volumes) {
    output::v1::TopVolume& volume = *top.add_volumes();
    volume.set_name(line.name);
    volume.set_size_bytes(line.stats.size_bytes());
    SetActivity(line, volume.mutable_activity());
  }
  return top;
}

}  // namespace ramvol::cli
