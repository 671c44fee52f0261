#include "client/cli/output/progress.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/size.h"
#include "client/cli/cli_context.h"
#include "client/cli/local_file.h"

namespace ramvol::cli {
namespace {

constexpr absl::Duration kDrawInterval = absl::Milliseconds(200);
constexpr absl::Duration kRatioInterval = absl::Seconds(1);
// The rate is an average over about this time, so that it is steady.
constexpr double kRateSeconds = 3;
constexpr size_t kMinBarWidth = 8;
// The width of " [" and "]" around the bar.
constexpr size_t kBarFrame = 3;
// A longer label is cut to this width, or to a third of the line.
constexpr size_t kMinLabelWidth = 16;
constexpr size_t kMaxBarWidth = 40;
// Clears the rest of a terminal's line.
constexpr char kClear[] = "\r\033[K";

std::string Bar(double fraction, size_t width) {
  const auto filled =
      static_cast<size_t>(fraction * static_cast<double>(width));
  std::string bar(filled, '=');
  if (filled < width) bar += '>';
  bar.resize(width, ' ');
  return absl::StrCat("[", bar, "]");
}

std::string Size(double bytes) {
  return FormatRoundedSize(static_cast<uint64_t>(std::max(bytes, 0.0)));
}

double Fraction(const ProgressView& view) {
  return std::clamp(static_cast<double>(view.done_bytes) /
                        static_cast<double>(view.total_bytes),
                    0.0, 1.0);
}

std::string Label(const std::string& label, size_t room) {
  const size_t width = std::max(room / 3, kMinLabelWidth);
  return label.size() <= width ? label : label.substr(0, width - 1) + "~";
}

// The parts that follow label, percentage and bar. The most important is first.
std::vector<std::string> Details(const ProgressView& view) {
  if (view.server_away) return {"the server does not answer, waiting for it"};
  std::vector<std::string> details;
  const std::string done =
      FormatRoundedSize(static_cast<uint64_t>(view.done_bytes));
  if (view.total_bytes > 0) {
    details.push_back(absl::StrCat(
        done, " / ",
        FormatRoundedSize(static_cast<uint64_t>(view.total_bytes))));
  } else {
    details.push_back(done);
  }
  details.push_back(absl::StrCat(Size(view.bytes_per_second), "/s"));
  if (view.total_bytes > 0 && view.bytes_per_second >= 1) {
    const auto left = static_cast<double>(
        std::max<int64_t>(view.total_bytes - view.done_bytes, 0));
    details.push_back(absl::StrCat(
        "ETA ", FormatClock(absl::Seconds(left / view.bytes_per_second))));
  } else {
    details.push_back(FormatClock(view.elapsed));
  }
  if (view.ratio > 0) {
    details.push_back(absl::StrFormat("ratio %.2f", view.ratio));
  }
  return details;
}

}  // namespace

std::string FormatClock(absl::Duration duration) {
  if (duration > absl::Hours(999)) return "--:--";
  const int64_t seconds = absl::ToInt64Seconds(duration);
  if (seconds < 3600) {
    return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
  }
  return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60,
                         seconds % 60);
}

std::string RenderProgress(const ProgressView& view, int columns) {
  // The last column stays free: some terminals wrap when it is written.
  const auto room = static_cast<size_t>(std::max(columns - 1, 0));
  std::string head = Label(view.label, room);
  if (view.total_bytes > 0) {
    absl::StrAppendFormat(&head, "  %3d%%",
                          static_cast<int>(100 * Fraction(view)));
  }
  const std::vector<std::string> details = Details(view);
  const size_t least = head.size() + 2 + details[0].size();
  const bool has_bar = view.total_bytes > 0 && !view.server_away &&
                       room >= least + kBarFrame + kMinBarWidth;
  const size_t for_bar = has_bar ? kBarFrame + kMinBarWidth : 0;
  std::string tail;
  for (const std::string& detail : details) {
    if (head.size() + for_bar + tail.size() + 2 + detail.size() > room) break;
    absl::StrAppend(&tail, "  ", detail);
  }
  if (has_bar) {
    const size_t width = room - head.size() - tail.size() - kBarFrame;
    absl::StrAppend(&head, " ",
                    Bar(Fraction(view), std::min(width, kMaxBarWidth)));
  }
  return absl::StrCat(head, tail).substr(0, room);
}

ProgressBar::ProgressBar(const CliContext& context, std::string label,
                         int64_t total_bytes, RatioSource ratio)
    : context_(context),
      label_(std::move(label)),
      total_bytes_(total_bytes),
      ratio_source_(std::move(ratio)),
      start_(context.now()),
      sampled_(start_) {
  if (context_.err_is_terminal) thread_ = std::thread([this] { Loop(); });
}

ProgressBar::~ProgressBar() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(&mu_);
    stop_ = true;
    stopping_.SignalAll();
  }
  thread_.join();
  WriteAll(context_.err_fd, kClear, "standard error").IgnoreError();
}

void ProgressBar::Loop() {
  MutexLock lock(&mu_);
  while (!stop_) {
    stopping_.WaitFor(&mu_, kDrawInterval);
    if (stop_) return;
    mu_.Unlock();
    Tick();
    mu_.Lock();
  }
}

double ProgressBar::Rate(absl::Time now, int64_t done) {
  const double seconds = absl::ToDoubleSeconds(now - sampled_);
  if (seconds <= 0) return rate_;
  const double latest = static_cast<double>(done - sampled_bytes_) / seconds;
  const double weight =
      sampled_ == start_ ? 1 : 1 - std::exp(-seconds / kRateSeconds);
  rate_ += weight * (latest - rate_);
  sampled_ = now;
  sampled_bytes_ = done;
  return rate_;
}

void ProgressBar::Tick() {
  const absl::Time now = context_.now();
  if (now - ratio_asked_ >= kRatioInterval) {
    ratio_asked_ = now;
    const absl::StatusOr<double> ratio = ratio_source_();
    ratio_ = ratio.value_or(ratio_);
    server_away_ = absl::IsUnavailable(ratio.status());
  }
  ProgressView view = {.label = label_,
                       .done_bytes = done_bytes_.load(),
                       .total_bytes = total_bytes_,
                       .ratio = ratio_,
                       .server_away = server_away_,
                       .elapsed = now - start_};
  view.bytes_per_second = Rate(now, view.done_bytes);
  const std::string line =
      absl::StrCat(kClear, RenderProgress(view, context_.terminal_columns()));
  WriteAll(context_.err_fd, line, "standard error").IgnoreError();
}

}  // namespace ramvol::cli
