// The log of a daemon: one line for each event.
#ifndef RAMVOL_BASE_EVENT_LOG_H_
#define RAMVOL_BASE_EVENT_LOG_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/log_line.h"
#include "base/log_rate.h"
#include "base/mutex.h"

namespace ramvol {

// Hears of events as they happen, whatever the log leaves out.
class EventObserver {
 public:
  // Only of events that EventTraits calls observed, and each time that they
  // repeat. Called by whoever logs, with locks held: must be quick, must not
  // log and takes locks that come last.
  virtual void OnEvent(Event event, const LogFields& fields) = 0;

 protected:
  ~EventObserver() = default;
};

// After Start, a thread writes the lines, so Log never waits for whoever reads
// the log. Lines that do not fit into kMaxQueuedBytes, and those that LogRate
// does not allow, are left out and counted; the log reports the counts.
//
// Thread-safe. Log may be called with locks held: its own lock is the last.
class EventLog {
 public:
  // Takes whole lines. One thread at a time calls it.
  using Sink = std::function<void(std::string_view lines)>;
  using ClockNs = std::function<int64_t()>;

  struct Options {
    std::string program;
    LogFormat format = LogFormat::kText;
    LogLevel level = LogLevel::kInfo;  // Lower levels are not written.
    // Whether lines begin with their priority for the journal, such as "<4>".
    bool for_journal = false;
  };

  static constexpr size_t kMaxQueuedBytes = size_t{1} << 20;
  // How often the log reports the events that were left out.
  static constexpr absl::Duration kReportInterval = absl::Seconds(10);

  // Logs nothing until Configure.
  explicit EventLog(Sink sink);
  EventLog(Sink sink, ClockNs clock);
  // Writes all queued lines first.
  ~EventLog();

  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  // Returns the process's log, which writes to standard error and is never
  // destroyed.
  static EventLog& OfProcess();

  void Configure(Options options) ABSL_LOCKS_EXCLUDED(mu_);
  // Starts the thread. Before that, the caller of Log writes. Call it once.
  void Start();

  void Log(Event event, const LogFields& fields) ABSL_LOCKS_EXCLUDED(mu_) {
    if (TraitsOf(event).observed) Tell(event, fields);
    if (TraitsOf(event).level < level_.load(std::memory_order_relaxed)) return;
    LogWanted(event, fields);
  }

  // Borrows `observer` until Remove returns.
  void AddObserver(EventObserver* observer) ABSL_LOCKS_EXCLUDED(observers_mu_);
  void RemoveObserver(EventObserver* observer)
      ABSL_LOCKS_EXCLUDED(observers_mu_);

  // Logs how many events of each kind were left out since the last report. The
  // thread calls it every kReportInterval.
  void ReportLeftOut() ABSL_LOCKS_EXCLUDED(mu_);
  // Waits until all lines are written, at most for `timeout`.
  void Flush(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Tell(Event event, const LogFields& fields)
      ABSL_LOCKS_EXCLUDED(observers_mu_);
  void LogWanted(Event event, const LogFields& fields) ABSL_LOCKS_EXCLUDED(mu_);
  void AddLocked(Event event, const LogFields& fields)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  // Releases mu_ while it writes.
  void WriteLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Sink sink_;
  const ClockNs clock_;
  std::atomic<LogLevel> level_{LogLevel::kOff};

  Mutex observers_mu_;
  std::vector<EventObserver*> observers_ ABSL_GUARDED_BY(observers_mu_);

  Mutex mu_;
  CondVar changed_;
  Options options_ ABSL_GUARDED_BY(mu_);
  LogRate rate_ ABSL_GUARDED_BY(mu_);
  std::string queued_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool started_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

// Logs to the process's log, and tells its observers. Where nobody configured
// it, as in users of the SDK and in tests, nothing is written.
inline void LogEvent(Event event, const LogFields& fields) {
  EventLog::OfProcess().Log(event, fields);
}

}  // namespace ramvol

#endif  // RAMVOL_BASE_EVENT_LOG_H_
