#include "server/service/event_feed.h"

#include <algorithm>
#include <random>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/reason.h"
#include "server/service/uid.h"
#include "server/service/volume_fields.h"

namespace ramvol::service {
namespace {

std::string RandomId() {
  std::random_device device;
  return FormatUid(static_cast<uint64_t>(device()) << 32 | device());
}

// At most `most` bytes of `text`, whole characters of UTF-8.
std::string Cut(std::string_view text, size_t most) {
  if (text.size() > most) {
    constexpr unsigned kMask = 0xC0;
    constexpr unsigned kContinues = 0x80;
    while (most > 0 &&
           (static_cast<unsigned char>(text[most]) & kMask) == kContinues) {
      --most;
    }
    text = text.substr(0, most);
  }
  return std::string(text);
}

v1::Event Make(Event event, const LogFields& fields, absl::Time time) {
  v1::Event made;
  *made.mutable_time() = ToProto(time);
  const auto most = EventFeed::kMaxMessageBytes;
  made.set_type(std::string(TraitsOf(event).name));
  made.set_volume(Cut(fields.volume, most));
  if (fields.uid != 0) made.set_uid(FormatUid(fields.uid));
  made.set_old_volume(Cut(fields.old_volume, most));
  made.set_client(Cut(fields.client, most));
  made.set_protocol(Cut(fields.over, most));
  made.set_reason(Cut(fields.reason, most));
  made.set_message(Cut(fields.message, most));
  return made;
}

absl::Status Lost(uint64_t position, uint64_t before) {
  return WithReason(
      absl::OutOfRangeError(absl::StrCat(
          "the events after ", position, " up to ", before,
          " are gone, the server keeps the last ", EventFeed::kMaxEvents,
          "; list the volumes and watch anew")),
      reason::kEventsLost);
}

}  // namespace

EventFeed::EventFeed(Clock clock) : clock_(std::move(clock)), id_(RandomId()) {}

void EventFeed::OnEvent(Event event, const LogFields& fields) {
  MutexLock lock(&mu_);
  if (TraitsOf(event).repeats &&
      rate_.IsRepeated(event, fields, SteadyNowNs())) {
    return;
  }
  v1::Event made = Make(event, fields, clock_());
  made.set_sequence(static_cast<int64_t>(LastLocked() + 1));
  bytes_ += made.ByteSizeLong();
  events_.push_back(std::move(made));
  while (events_.size() > kMaxEvents || bytes_ > kMaxBytes) DropFirstLocked();
  changed_.SignalAll();
}

void EventFeed::DropFirstLocked() {
  bytes_ -= events_.front().ByteSizeLong();
  events_.pop_front();
  ++before_;
}

uint64_t EventFeed::Oldest() const {
  MutexLock lock(&mu_);
  return before_;
}

uint64_t EventFeed::Last() const {
  MutexLock lock(&mu_);
  return LastLocked();
}

uint64_t EventFeed::At(absl::Time since) const {
  MutexLock lock(&mu_);
  const auto first = std::find_if(events_.begin(), events_.end(),
                                  [since](const v1::Event& event) {
                                    return FromProto(event.time()) >= since;
                                  });
  return before_ + static_cast<uint64_t>(first - events_.begin());
}

absl::Status EventFeed::Read(
    uint64_t* position, size_t max_bytes,
    google::protobuf::RepeatedPtrField<v1::Event>* events) const {
  MutexLock lock(&mu_);
  if (*position < before_) return Lost(*position, before_);
  size_t bytes = 0;
  while (*position < LastLocked()) {
    const v1::Event& next = events_[*position - before_];
    bytes += next.ByteSizeLong();
    if (bytes > max_bytes && !events->empty()) break;
    *events->Add() = next;
    ++*position;
  }
  return absl::OkStatus();
}

bool EventFeed::Wait(uint64_t* position) {
  MutexLock lock(&mu_);
  while (!stopped_ && LastLocked() <= *position) changed_.Wait(&mu_);
  *position = LastLocked();
  return !stopped_;
}

void EventFeed::Stop() {
  MutexLock lock(&mu_);
  stopped_ = true;
  changed_.SignalAll();
}

}  // namespace ramvol::service
