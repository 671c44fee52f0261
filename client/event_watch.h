// A stream of a server's events.
#ifndef RAMVOL_CLIENT_EVENT_WATCH_H_
#define RAMVOL_CLIENT_EVENT_WATCH_H_

#include <optional>

#include "absl/status/statusor.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol {

// Destroying it ends the stream. One thread at a time may call Next; Cancel may
// be called by any.
class EventWatch {
 public:
  virtual ~EventWatch() = default;

  // Waits for the next message. Its first one has `feed` and `last_sequence`,
  // see WatchEvents. nullopt when the stream has ended because it was
  // not asked to follow. OUT_OF_RANGE, reason EVENTS_LOST, when events are
  // gone; UNAVAILABLE when the server or the connection is. CANCELLED after
  // Cancel. Nothing is tried again: give `feed` and the last sequence to a new
  // stream.
  virtual absl::StatusOr<std::optional<v1::WatchEventsResponse>> Next() = 0;

  // Ends the stream, and a call of Next.
  virtual void Cancel() = 0;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_EVENT_WATCH_H_
