// The accept loop that all protocols use.
#ifndef RAMVOL_BASE_DOOR_H_
#define RAMVOL_BASE_DOOR_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/door_stats.h"
#include "base/fair_share.h"
#include "base/secure_stream.h"

namespace ramvol {

// How much of a client's opening, the first bytes it must send, has arrived.
enum class Opening { kIncomplete, kComplete, kWrong };

struct DoorOptions {
  // The protocol's name in the log, such as "grpc".
  const char* protocol = "";
  // Non-blocking sockets that listen. Borrowed.
  std::vector<int> listeners;
  // Most connections that are inside. Further ones wait in the sockets'
  // backlogs. A connection beyond its peer's FairShare is closed.
  size_t max_connections = 4096;
  // Whether there is memory for one more connection; called before each. While
  // there is none, connections wait in the backlogs. Null: always.
  std::function<bool()> has_room;
  // Judges the first bytes of a connection, which stay in its socket. Called
  // with all that have arrived, up to `opening_bytes`. Null where the server
  // speaks first: connections are then inside at once.
  std::function<Opening(std::string_view)> judge;
  size_t opening_bytes = 0;
  // Makes the server's end of a connection that is to be encrypted, null of any
  // other. Its handshake is then a part of the opening. Null: none is.
  std::function<std::unique_ptr<SecureStream>(int listener, int fd)> secure;
  // Whether `judge` judges what is inside of those, which their streams then
  // hold. If not, their openings are complete when bytes follow the handshake,
  // and these stay in the socket.
  bool judge_secure = false;
  // Connections with an incomplete opening are closed after this time. When
  // there are more than `max_openings`, the oldest is closed.
  absl::Duration opening_timeout = absl::Seconds(10);
  size_t max_openings = 256;
  // 1/reserve_divisor of the process's file descriptors are left to other uses.
  size_t reserve_divisor = 4;
  // Runs on the door's thread about once a second while a connection is inside.
  std::function<void()> tick;
};

// Accepts from Start to Stop on its own thread, which never waits for a client.
// It goes on after the process ran out of descriptors or the kernel out of
// memory.
class Door {
 public:
  // A connection's place inside. Dropping the last copy gives it back. May
  // outlive the door.
  using Place = std::shared_ptr<const void>;
  // Takes over a connection, a non-blocking `fd`, and its stream when it is
  // encrypted. Runs on the door's thread.
  using Enter = std::function<void(int listener, int fd, Place place,
                                   std::unique_ptr<SecureStream> stream)>;

  // UNAVAILABLE when the system has no descriptors. Borrows `stats`.
  static absl::StatusOr<std::unique_ptr<Door>> Make(DoorOptions options,
                                                    Enter enter,
                                                    DoorStats* stats);
  ~Door();

  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  void Start();
  // Stops accepting and closes the connections that are not inside yet. Those
  // in the backlogs stay there for other holders of the sockets. May be called
  // repeatedly, from one thread.
  void Stop();

  // Why nothing is accepted at the moment, for people; "" when connections are
  // accepted. Thread-safe.
  std::string WhyShut() const;
  // Thread-safe.
  size_t inside() const;

 private:
  // What a Place needs, also after the door has gone.
  struct Places;
  // A connection whose opening is incomplete.
  struct Waiting {
    int fd = -1;
    int listener = -1;
    std::string peer = {};
    absl::Time deadline = absl::InfiniteFuture();
    std::unique_ptr<SecureStream> stream = nullptr;
    bool shaken = false;  // The stream's handshake is done.
  };
  using WaitingList = std::list<Waiting>;

  Door(DoorOptions options, Enter enter, DoorStats* stats,
       std::shared_ptr<Places> places);

  void Run();
  int WaitMs() const;
  void Handle(int fd);
  // Whether epoll reports the listeners.
  void Listen(bool on);
  void AcceptSome(int listener);
  // False when there is nothing more to accept for now.
  bool AcceptOne(int listener);
  void Pause(const char* why);
  // Whether the next descriptor would be one of those reserved for other uses.
  bool FilesAreShort() const;
  void LetWait(int listener, int fd, std::string peer);
  void MakeRoom(const std::string& peer, bool of_peer);
  void Judge(WaitingList::iterator waiting);
  // Goes on with a handshake. False when the connection has to wait, or is
  // gone.
  bool Shake(WaitingList::iterator waiting);
  // Looks at the first bytes. nullopt when the client has left.
  std::optional<Opening> Look(Waiting& waiting) const;
  // Removes it from the list; the descriptor stays open.
  Waiting Take(WaitingList::iterator waiting);
  void Close(WaitingList::iterator waiting, TurnedAway why,
             const std::string& message = "");
  void CloseLate();
  void LetIn(Waiting connection);
  void TurnAway(int fd, TurnedAway why, const std::string& message = "");
  void Tick();

  const DoorOptions options_;
  const Enter enter_;
  DoorStats& stats_;
  const std::shared_ptr<Places> places_;
  const int max_fd_;
  FairShare openings_;

  // Used by the door's thread only.
  bool listening_ = false;
  absl::Time paused_until_ = absl::InfinitePast();
  absl::Time next_tick_ = absl::InfinitePast();
  WaitingList waiting_;  // In the order of their deadlines.
  absl::flat_hash_map<int, WaitingList::iterator> by_fd_;

  std::atomic<bool> stopping_{false};
  // Why nothing is accepted until paused_until_; null when not paused.
  std::atomic<const char*> paused_{nullptr};
  std::thread thread_;
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_DOOR_H_
