// Where connections come in: the one accept loop of all protocols.
#ifndef RAMVOL_BASE_DOOR_H_
#define RAMVOL_BASE_DOOR_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/door_stats.h"
#include "base/fair_share.h"

namespace ramvol {

// How much of what a client has to say first has arrived.
enum class Opening { kIncomplete, kComplete, kWrong };

struct DoorOptions {
  // Sockets that listen, and do not block. Borrowed.
  std::vector<int> listeners;
  // Most connections that are inside. While there are as many, further ones
  // wait in the sockets. By peer FairShare decides: what is too much is closed.
  size_t max_connections = 4096;
  // Whether there is memory for one more connection, whatever that is: it is
  // asked before each. While there is none, further ones wait. Null: always.
  std::function<bool()> has_room;
  // Judges the first bytes of a connection, without taking them: it is called
  // with all that have arrived, up to `opening_bytes`. Null where the server
  // speaks first: then connections are inside at once.
  std::function<Opening(std::string_view)> judge;
  size_t opening_bytes = 0;
  // Connections that have not said what they want are closed after this time,
  // and the oldest when there are more of them than `max_openings`.
  absl::Duration opening_timeout = absl::Seconds(10);
  size_t max_openings = 256;
  // Of the file descriptors that the process may have, leaves at least one in
  // so many to others.
  size_t reserve_divisor = 4;
  // Runs on the door's thread about once a second while somebody is inside.
  std::function<void()> tick;
};

// Accepts from Start to Stop, in a thread of its own that nothing a client does
// can hold. Neither ends accepting: not that descriptors run out, nor that the
// kernel is short of memory.
class Door {
 public:
  // A place inside, given back when the last copy goes, which may be after the
  // door has.
  using Place = std::shared_ptr<const void>;
  // Takes over a connection, which does not block. Runs on the door's thread.
  using Enter = std::function<void(int listener, int fd, Place place)>;

  // UNAVAILABLE when the system has no descriptors. Borrows `stats`.
  static absl::StatusOr<std::unique_ptr<Door>> Make(DoorOptions options,
                                                    Enter enter,
                                                    DoorStats* stats);
  ~Door();

  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  void Start();
  // Accepts nothing more, and closes what has not come inside. What waits in
  // the sockets stays there for whoever holds them, too. Call it any number of
  // times, from one thread.
  void Stop();

  // Why nobody is accepted at the moment, a sentence; "" when that is not so.
  // Thread-safe.
  std::string WhyShut() const;
  // Thread-safe.
  size_t inside() const;

 private:
  // Outlives the door with its places.
  struct Shared;
  // A connection of which more has to arrive.
  struct Waiting {
    int fd = -1;
    int listener = -1;
    std::string peer;
    absl::Time deadline;
  };
  using WaitingList = std::list<Waiting>;

  Door(DoorOptions options, Enter enter, DoorStats* stats,
       std::shared_ptr<Shared> shared);

  void Run();
  int WaitMs() const;
  void Handle(int fd);
  // Watches the listeners, or not.
  void Listen(bool on);
  void AcceptSome(int listener);
  // False when there is nothing more to accept for now.
  bool AcceptOne(int listener);
  void Pause(const char* why);
  // The next descriptor would be among those that are kept for others.
  bool FilesAreShort() const;
  void LetWait(int listener, int fd, std::string peer);
  void MakeRoom(const std::string& peer, bool of_peer);
  void Judge(WaitingList::iterator waiting);
  // Takes it out of the list; the descriptor stays open.
  Waiting Take(WaitingList::iterator waiting);
  void Close(WaitingList::iterator waiting, TurnedAway why);
  void CloseLate();
  void LetIn(int listener, int fd, const std::string& peer);
  void TurnAway(int fd, TurnedAway why);
  void Tick();

  const DoorOptions options_;
  const Enter enter_;
  DoorStats& stats_;
  const std::shared_ptr<Shared> shared_;
  const int max_fd_;
  FairShare openings_;

  // The thread's.
  bool listening_ = false;
  absl::Time paused_until_ = absl::InfinitePast();
  absl::Time next_tick_ = absl::InfinitePast();
  WaitingList waiting_;  // In the order of their deadlines.
  absl::flat_hash_map<int, WaitingList::iterator> by_fd_;

  std::atomic<bool> stopping_{false};
  // Why nobody is accepted until paused_until_; null when it is not so.
  std::atomic<const char*> paused_{nullptr};
  std::thread thread_;
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_DOOR_H_
