// The last events of the server, for those who watch.
#ifndef RAMVOL_SERVER_SERVICE_EVENT_FEED_H_
#define RAMVOL_SERVER_SERVICE_EVENT_FEED_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/event_log.h"
#include "base/log_line.h"
#include "base/log_rate.h"
#include "base/mutex.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::service {

// Hears what is logged of volumes (base/event_log.h), numbers it and keeps the
// last kMaxEvents, of at most kMaxBytes. Events that repeat count once in
// LogRate::kRepeatNs for each volume and reason. Readers have a position each:
// the sequence of the last event that they have read, 0 before the first.
//
// Thread-safe. Its lock is the last.
class EventFeed final : public EventObserver {
 public:
  static constexpr size_t kMaxEvents = 4096;
  static constexpr size_t kMaxBytes = size_t{1} << 20;
  // Of a message; longer ones are cut.
  static constexpr size_t kMaxMessageBytes = 512;

  using Clock = std::function<absl::Time()>;

  explicit EventFeed(Clock clock = absl::Now);

  EventFeed(const EventFeed&) = delete;
  EventFeed& operator=(const EventFeed&) = delete;

  // Random; tells this feed's sequences from those of earlier servers.
  const std::string& id() const { return id_; }

  void OnEvent(Event event, const LogFields& fields) override;

  // Positions: before the oldest event, after the last one, and before the
  // first that is not older than `since`.
  uint64_t Oldest() const ABSL_LOCKS_EXCLUDED(mu_);
  uint64_t Last() const ABSL_LOCKS_EXCLUDED(mu_);
  uint64_t At(absl::Time since) const ABSL_LOCKS_EXCLUDED(mu_);

  // Adds events after `*position` to `events`, none if there are none, and
  // moves the position behind them: at most `max_bytes`, or one event.
  // OUT_OF_RANGE, reason EVENTS_LOST, when the next one is gone.
  absl::Status Read(uint64_t* position, size_t max_bytes,
                    google::protobuf::RepeatedPtrField<v1::Event>* events) const
      ABSL_LOCKS_EXCLUDED(mu_);

  // Waits for an event after `*position`, and moves the position behind the
  // last one. False once it was stopped.
  bool Wait(uint64_t* position) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends all waiting.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  uint64_t LastLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return before_ + events_.size();
  }
  void DropFirstLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Clock clock_;
  const std::string id_;

  mutable Mutex mu_;
  CondVar changed_;
  LogRate rate_ ABSL_GUARDED_BY(mu_);
  std::deque<v1::Event> events_ ABSL_GUARDED_BY(mu_);
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;     // Of events_.
  uint64_t before_ ABSL_GUARDED_BY(mu_) = 0;  // Events that were dropped.
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_EVENT_FEED_H_
