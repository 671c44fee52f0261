#include "base/event_log.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/time/clock.h"
#include "base/clock.h"

namespace ramvol {
namespace {

// Writes all of `lines`, even if somebody made the pipe non-blocking.
void WriteToStandardError(std::string_view lines) {
  while (!lines.empty()) {
    const ssize_t bytes = write(STDERR_FILENO, lines.data(), lines.size());
    if (bytes >= 0) {
      lines.remove_prefix(static_cast<size_t>(bytes));
    } else if (errno == EAGAIN) {
      pollfd room{STDERR_FILENO, POLLOUT, 0};
      poll(&room, 1, -1);
    } else if (errno != EINTR) {
      return;  // Nobody reads it.
    }
  }
}

// The prefixes of sd-daemon(3).
const char* PriorityOf(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return "<6>";
    case LogLevel::kWarning:
      return "<4>";
    default:
      return "<3>";
  }
}

}  // namespace

EventLog::EventLog(Sink sink) : EventLog(std::move(sink), &SteadyNowNs) {}

EventLog::EventLog(Sink sink, ClockNs clock)
    : sink_(std::move(sink)), clock_(std::move(clock)) {}

EventLog::~EventLog() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

EventLog& EventLog::OfProcess() {
  static EventLog& log = *new EventLog(&WriteToStandardError);
  return log;
}

void EventLog::Configure(Options options) {
  MutexLock lock(&mu_);
  options_ = std::move(options);
  level_.store(options_.level, std::memory_order_relaxed);
}

void EventLog::Start() {
  {
    MutexLock lock(&mu_);
    started_ = true;
  }
  thread_ = std::thread([this] { Run(); });
}

void EventLog::AddObserver(EventObserver* observer) {
  MutexLock lock(&observers_mu_);
  observers_.push_back(observer);
}

void EventLog::RemoveObserver(EventObserver* observer) {
  MutexLock lock(&observers_mu_);
  std::erase(observers_, observer);
}

void EventLog::Tell(Event event, const LogFields& fields) {
  MutexLock lock(&observers_mu_);
  for (EventObserver* observer : observers_) observer->OnEvent(event, fields);
}

void EventLog::LogWanted(Event event, const LogFields& fields) {
  MutexLock lock(&mu_);
  if (!rate_.Allow(event, fields, clock_())) return;
  AddLocked(event, fields);
  if (started_) {
    changed_.SignalAll();
  } else if (!writing_) {
    WriteLocked();
  }
}

void EventLog::AddLocked(Event event, const LogFields& fields) {
  std::string line = FormatLogLine(options_.format, absl::Now(),
                                   options_.program, event, fields);
  if (options_.for_journal) line.insert(0, PriorityOf(TraitsOf(event).level));
  if (queued_.size() + line.size() > kMaxQueuedBytes) {
    rate_.CountLeftOut(event);
  } else {
    queued_ += line;
  }
}

void EventLog::ReportLeftOut() {
  MutexLock lock(&mu_);
  for (size_t i = 0; i < kEvents; ++i) {
    const auto event = static_cast<Event>(i);
    const uint64_t count = rate_.TakeLeftOut(event);
    if (count == 0) continue;
    AddLocked(Event::kLeftOut, {.reason = TraitsOf(event).name,
                                .message = "more of these events were left out",
                                .count = count});
  }
  if (!started_ && !writing_) WriteLocked();
}

void EventLog::WriteLocked() {
  while (!queued_.empty()) {
    writing_ = true;
    const std::string lines = std::exchange(queued_, "");
    mu_.Unlock();
    sink_(lines);
    mu_.Lock();
    writing_ = false;
    changed_.SignalAll();
  }
}

void EventLog::Run() {
  absl::Time report = absl::Now() + kReportInterval;
  bool stopping = false;
  while (!stopping) {
    {
      MutexLock lock(&mu_);
      while (!stopping_ && queued_.empty() && absl::Now() < report) {
        changed_.WaitFor(&mu_, report - absl::Now());
      }
      stopping = stopping_;
      WriteLocked();
    }
    if (!stopping && absl::Now() < report) continue;
    ReportLeftOut();
    report = absl::Now() + kReportInterval;
    MutexLock lock(&mu_);
    WriteLocked();
  }
}

void EventLog::Flush(absl::Duration timeout) {
  ReportLeftOut();
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mu_);
  changed_.SignalAll();
  while ((writing_ || !queued_.empty()) && absl::Now() < deadline) {
    changed_.WaitFor(&mu_, deadline - absl::Now());
  }
}

}  // namespace ramvol
