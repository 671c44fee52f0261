// The live progress line of imports and exports.
#ifndef RAMVOL_CLIENT_CLI_OUTPUT_PROGRESS_H_
#define RAMVOL_CLIENT_CLI_OUTPUT_PROGRESS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "client/cli/cli_context.h"

namespace ramvol::cli {

// What a progress line shows.
struct ProgressView {
  std::string label;
  int64_t done_bytes = 0;
  int64_t total_bytes = 0;  // 0: not known.
  double bytes_per_second = 0;
  double ratio = 0;  // 0: not known.
  bool server_away = false;
  absl::Duration elapsed;
};

// One line without newline, at most `columns` wide:
//   import scratch  43% [=====>      ]  1.3 GiB / 3 GiB  412 MiB/s  ETA 0:04
//   ratio 2.95
// Without a known total, the line has no percentage, bar and ETA. If there is
// too little room, parts are left out from the right, and then the bar. The
// first part stays. A long label is cut.
std::string RenderProgress(const ProgressView& view, int columns);

// "0:04", "12:30", "3:02:00".
std::string FormatClock(absl::Duration duration);

// Shows progress on a terminal, several times a second, from a thread of its
// own. When standard error is not a terminal, shows nothing and starts no
// thread.
class ProgressBar {
 public:
  // Asked about once a second for the volume's ratio, from that thread. When it
  // fails with UNAVAILABLE the line says so.
  using RatioSource = std::function<absl::StatusOr<double>()>;

  ProgressBar(const CliContext& context, std::string label, int64_t total_bytes,
              RatioSource ratio);
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  // Takes the line away again.
  ~ProgressBar();

  // Counts what is done; of any thread.
  std::atomic<int64_t>& done_bytes() { return done_bytes_; }

  // Draws now; only the thread, and tests.
  void Tick();

 private:
  void Loop();
  double Rate(absl::Time now, int64_t done);

  const CliContext& context_;
  const std::string label_;
  const int64_t total_bytes_;
  const RatioSource ratio_source_;
  const absl::Time start_;

  std::atomic<int64_t> done_bytes_{0};

  // Of the drawing thread.
  absl::Time sampled_;
  int64_t sampled_bytes_ = 0;
  double rate_ = 0;
  absl::Time ratio_asked_ = absl::InfinitePast();
  double ratio_ = 0;
  bool server_away_ = false;

  Mutex mu_;
  CondVar stopping_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_OUTPUT_PROGRESS_H_
