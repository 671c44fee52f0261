// A connection of gRPC, seen from between gRPC and its socket.
#ifndef RAMVOL_SERVER_HTTP2_WATCHED_CONNECTION_H_
#define RAMVOL_SERVER_HTTP2_WATCHED_CONNECTION_H_

#include <sys/socket.h>
#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/client_memory.h"
#include "base/door_stats.h"
#include "base/mutex.h"
#include "base/secure_stream.h"
#include "server/http2/flood_budget.h"
#include "server/http2/frame_gate.h"
#include "server/http2/inflow.h"

namespace ramvol::http2 {

inline constexpr int64_t kMaxSlowNs = 10'000'000'000;
inline constexpr uint64_t kMinSlowBytes = uint64_t{10} << 20;

// Shows a connection's bytes to a FrameGate, ends the connection when it says
// so, and sends WINDOW_UPDATEs when Inflow says so. Answers calls whose
// messages are too long: gRPC would do so once it has received them.
// Thread-safe.
class WatchedConnection final
    : public ClientMemory::Client,
      public std::enable_shared_from_this<WatchedConnection> {
 public:
  struct Options {
    int fd = -1;
    std::string peer;  // See PeerOf.
    std::shared_ptr<PeerStreams> peer_streams;
    std::shared_ptr<ClientMemory> memory;
    std::shared_ptr<const void> hold;  // Lives as long as the connection.
    std::shared_ptr<DoorStats> stats;
    // Null: the connection's bytes are plain.
    std::unique_ptr<SecureStream> secure = nullptr;
    // The C library's, or a test's.
    ssize_t (*send)(int fd, const msghdr* message, int flags) = nullptr;
    // See Inflow: Resume has to follow.
    std::function<void()> granted;
  };

  // Borrows `common`.
  WatchedConnection(FloodBudget* common, Options options);

  // Whether Receive has to be called in place of recvmsg.
  bool secure() const { return options_.secure != nullptr; }
  // As recvmsg, of what is inside.
  ssize_t Receive(msghdr* message);
  // What recvmsg or Receive has put into `message`. False when the connection
  // has ended.
  [[nodiscard]] bool Received(const msghdr& message, size_t bytes)
      ABSL_LOCKS_EXCLUDED(send_mu_, mu_);
  // As sendmsg. What is held back counts as sent.
  ssize_t Send(const msghdr& message, int flags)
      ABSL_LOCKS_EXCLUDED(send_mu_, mu_);
  // Sends what was held back and may be sent now, as far as there is room.
  void Resume() ABSL_LOCKS_EXCLUDED(send_mu_, mu_);
  // The descriptor is about to be closed. Nothing touches it afterwards.
  void Close() ABSL_LOCKS_EXCLUDED(send_mu_, mu_);

  void End(TurnedAway why);
  // Ends it when its headers are late.
  void EndIfLate(int64_t now_ns);
  // While `others_wait`, ends it when its client takes less than kMinSlowBytes
  // in kMaxSlowNs of what is there. One thread at a time.
  void EndIfSlow(bool others_wait, int64_t now_ns);

  std::function<void()> SendAway() override;

 private:
  using Updates = std::vector<FrameGate::UpdateAt>;

  // How many of the next bytes may be sent, of which `updates` are a part. 0
  // when the first thing in them was held back.
  size_t AdmitLocked(const Updates& updates, size_t bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // False when a frame of ours is stuck, so that nothing else may be sent.
  bool SendOwnLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(send_mu_)
      ABSL_LOCKS_EXCLUDED(mu_);
  ssize_t SendTheirsLocked(const msghdr& message, int flags)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(send_mu_) ABSL_LOCKS_EXCLUDED(mu_);
  // As sendmsg, without a look at the bytes.
  ssize_t SendNow(const msghdr& message, int flags)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(send_mu_);
  // Whether nothing but what gRPC sent in part may be sent next.
  bool committed() const {
    return options_.secure != nullptr && options_.secure->committed();
  }
  // The socket took `sent` of `wanted` bytes, or less than 0.
  void NoteSent(ssize_t sent, size_t wanted);

  const Options options_;
  std::atomic<bool> ended_{false};
  // What the socket took, and whether it has no room for more.
  std::atomic<uint64_t> sent_bytes_{0};
  std::atomic<bool> full_{false};
  // EndIfSlow's.
  int64_t slow_since_ns_ = 0;
  uint64_t slow_sent_bytes_ = 0;

  // Held while something is sent; before mu_.
  Mutex send_mu_;
  bool closed_ ABSL_GUARDED_BY(send_mu_) = false;
  // Frames of ours to be sent, and whether the first was sent in part.
  std::string own_ ABSL_GUARDED_BY(send_mu_);
  bool own_cut_ ABSL_GUARDED_BY(send_mu_) = false;

  Mutex mu_;
  Inflow inflow_ ABSL_GUARDED_BY(mu_);
  // Guarded by mu_, but for what may be asked any time.
  FrameGate gate_;
};

}  // namespace ramvol::http2

#endif  // RAMVOL_SERVER_HTTP2_WATCHED_CONNECTION_H_
