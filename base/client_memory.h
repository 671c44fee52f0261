// What a server may hold for its clients: one bound for all of them.
#ifndef RAMVOL_BASE_CLIENT_MEMORY_H_
#define RAMVOL_BASE_CLIENT_MEMORY_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace ramvol {

// Shares a number of bytes among the clients of a server. Requests, answers and
// what a connection takes by itself are charged to a Holder, before there is
// any memory for them. What does not fit waits, in the order of arrival, and is
// not read or not begun meanwhile.
//
// - A holder may take half as much as is free, counting what it holds, so that
//   none can take all; one that holds nothing may take all that is free. (A
//   dynamic threshold, as switches share their buffers by: Choudhury and Hahne,
//   1998.)
// - Connections and streams are open for a Base each; all together may take
//   half of the bound that way.
// - Of those who wait, machines for which nothing is held go first. So who
//   comes with many connections or calls waits behind those who do not.
// - An eighth of the bound is kept for small calls and new connections.
// - While others wait, a holder that waits for its client has kMaxStall, and a
//   second for each kMinBytesPerSecond that it held then, to give that back.
//   Else it is sent away. So nobody waits for slow clients for longer.
//
// Thread-safe. It has one thread, which tells those who waited, and looks after
// slow clients only while somebody waits.
class ClientMemory {
 public:
  // What a connection or a stream takes while nothing is asked of it: threads
  // or a call, buffers of ours, of gRPC and of the kernel.
  static constexpr size_t kBaseBytes = size_t{96} << 10;
  // The part of it that requests may take without further charge.
  static constexpr size_t kAllowanceBytes = size_t{32} << 10;
  // The same for what may be open.
  struct Base {
    size_t bytes = kBaseBytes;
    size_t allowance_bytes = kAllowanceBytes;
    // What it holds beyond that comes unasked. It leaves less for what others
    // ask for, but keeps nobody from opening and no small call waiting.
    bool unasked = false;
  };
  // An Io stream has no threads and no socket: 25 KiB were seen.
  static constexpr Base Stream() { return {size_t{32} << 10, size_t{8} << 10}; }
  // Charges of calls up to this are small.
  static constexpr size_t kSmallBytes = size_t{80} << 10;
  // A holder of that much may always take spare bytes.
  static constexpr size_t kMuchBytes = size_t{8} << 20;
  // gRPC messages of more bytes are received only once there is room for twice
  // as many: for them and for what they are decoded into. They never wait for
  // memory after that.
  static constexpr size_t kLargeMessageBytes = size_t{64} << 10;
  // Longer ones are refused.
  static constexpr size_t kMaxMessageBytes = size_t{33} << 20;
  static constexpr absl::Duration kMaxStall = absl::Seconds(10);
  static constexpr size_t kMinBytesPerSecond = size_t{4} << 20;

  struct Options {
    size_t limit_bytes = size_t{512} << 20;
    // Other than kMaxStall in tests.
    absl::Duration max_stall = kMaxStall;
    // How often slow clients are looked for while somebody waits; never, and
    // Sweep has to be called, when it is infinite.
    absl::Duration sweep_interval = absl::Seconds(1);
  };

  struct Stats {
    size_t limit_bytes = 0;
    size_t used_bytes = 0;  // May exceed the limit by what was not foreseen.
    size_t waiting = 0;     // Holders whose next charge does not fit.
    uint64_t sent_away = 0;
  };

  // Whom memory is held for.
  class Client {
   public:
    // The client held too much for too long. Called with a lock held, at any
    // time in a Holder's life: must neither block nor call back. What it
    // returns, which may be empty, is called without.
    virtual std::function<void()> SendAway() = 0;

   protected:
    ~Client() = default;
  };

  // What is held for one client. One thread at a time may call it, but for
  // WaitsForClient.
  class Holder {
   public:
    // Borrows both.
    Holder(ClientMemory* memory, Client* client)
        : memory_(*memory), client_(*client) {}
    // Gives everything back, and asks for nothing any more.
    ~Holder();

    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;

    // Whose machine it is, as PeerOf says; without it, it is one by itself.
    // Call it before anything is charged.
    void SetPeer(std::string peer) { peer_ = std::move(peer); }

    // Takes `base`, whether it fits or not, in the place of what was reserved
    // before.
    void Open(const Base& base);
    void Open() { Open(Base()); }

    // Makes sure that `more` can be held. False when it does not fit now.
    [[nodiscard]] bool Reserve(size_t more) {
      if (asked_ != 0) TakeGrant();
      return held_ + more <= covered_ || Grow(more);
    }
    // After Reserve failed: waits until it would not. `granted` is called by
    // the bound's thread, or never when this was withdrawn. When it is on its
    // way then, it comes in spite of that, even when the Holder is gone: it
    // has to keep, or to find, what it touches. Nothing when this asks for
    // something already.
    void Ask(size_t more, std::function<void()> granted);
    bool asking() const { return asked_ != 0; }
    // What was asked for is there; Reserve takes it.
    bool granted() const { return granted_.load(std::memory_order_acquire); }
    void Withdraw();

    // What Reserve promises without asking anybody.
    size_t room_bytes() const { return covered_ - held_; }
    size_t held_bytes() const { return held_; }
    // What is held now, be it reserved or not. What was asked for is beside it
    // until Reserve takes it.
    void SetHeld(size_t bytes) {
      if (bytes < held_) {
        given_.store(given_.load(std::memory_order_relaxed) + held_ - bytes,
                     std::memory_order_relaxed);
      }
      held_ = bytes;
      if (bytes > covered_ || MustShrink()) Settle();
    }

    // Takes bytes beside what is held that make its work faster, or more of
    // them. Fails unless half of the bound is free, but for a holder of
    // kMuchBytes: it gives that back the sooner. Then more may be charged than
    // there is, so `bytes` must be little beside kMuchBytes.
    [[nodiscard]] bool TakeSpare(size_t bytes);
    // Gives back all but `kept`, which is not more than there is.
    void GiveSpare(size_t kept = 0);

    // A part of what is held waits for the client to take or to send something.
    // Thread-safe; calls nest.
    void WaitsForClient(bool waits) {
      waits_.fetch_add(waits ? 1 : -1, std::memory_order_relaxed);
    }

   private:
    friend class ClientMemory;

    // What is charged beyond it is kept, so that the lock is seldom taken.
    static constexpr size_t kStepBytes = size_t{64} << 10;

    bool MustShrink() const {
      if (covered_ <= allowance_) return false;
      return held_ <= allowance_ || held_ + 2 * kStepBytes < covered_ ||
             memory_.scarce_.load(std::memory_order_relaxed);
    }
    bool Grow(size_t more);
    void Settle();
    void TakeGrant();

    ClientMemory& memory_;
    Client& client_;
    std::string peer_;
    // The owner's.
    size_t held_ = 0;
    size_t allowance_ = 0;
    size_t covered_ = 0;  // The allowance, and what is charged beyond it.
    size_t asked_ = 0;
    std::atomic<bool> granted_{false};
    std::atomic<uint64_t> given_{0};
    std::atomic<int> waits_{0};
    // Under memory_.mu_.
    bool open_ = false;
    size_t base_bytes_ = 0;
    bool unasked_ = false;
    bool small_ = false;  // What is charged is a small call's.
    bool queued_ = false;
    size_t spare_ = 0;
    size_t charged_ = 0;  // Beyond the base, with spare_ and what was granted.
    // Since when it is looked at, what it had given back until then and what
    // it has to give back since.
    absl::Time mark_time_ = absl::InfiniteFuture();
    uint64_t mark_given_ = 0;
    size_t mark_charged_ = 0;
  };

  explicit ClientMemory(const Options& options);
  // All holders are gone. What the memory calls may drop the last reference to
  // it: then its thread ends by itself, and touches nothing more.
  ~ClientMemory();

  ClientMemory(const ClientMemory&) = delete;
  ClientMemory& operator=(const ClientMemory&) = delete;

  // As many connections and streams may be open at a time.
  size_t max_open(size_t base_bytes = kBaseBytes) const {
    return options_.limit_bytes / 2 / base_bytes;
  }
  // Whether less than half of the bound is taken by what is open. Only a client
  // that closes something changes that.
  bool MayOpen(size_t base_bytes);
  // Whether, besides, one more connection fits. When not, the caller counts as
  // one who waits, for a while.
  bool HasRoomToOpen(size_t base_bytes = kBaseBytes);

  Stats GetStats();

  // Half of it is used, or half of what is kept for small calls: the time to
  // look at peers.
  bool crowded() const { return crowded_.load(std::memory_order_relaxed); }

  // Sends away who has been slow, as of `now`.
  void Sweep(absl::Time now);

 private:
  struct Waiting {
    Holder* holder;
    size_t bytes;
    std::function<void()> granted;
  };
  using Queue = std::deque<Waiting>;

  bool MayOpenLocked(size_t base_bytes) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return base_used_ + base_bytes <= options_.limit_bytes / 2;
  }
  // Without what came unasked.
  size_t UsedLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // With that, and with all of the reserve.
  size_t LargeUsedLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Of what counts what the holder charges.
  size_t& UsedByLocked(const Holder& holder) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Whether there is enough, whatever the holder's share is.
  bool IsFreeLocked(const Holder& holder, bool small, size_t bytes) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsInShareLocked(const Holder& holder, bool small, size_t bytes) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Charges it if it fits and nobody waits for memory.
  bool TryChargeLocked(Holder* holder, size_t bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ChargeLocked(Holder* holder, size_t bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ReturnLocked(Holder* holder, size_t bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void NoteCrowdLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Nothing is held for its peer.
  bool IsNewLocked(const Holder& holder) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Lets in those who wait, as far as there is room.
  void GrantLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void GrantLocked(bool only_new) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes `holder` out of those who wait; what it wanted to be told.
  std::function<void()> DequeueLocked(Holder* holder)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsSlowLocked(Holder* holder, absl::Time now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Run();

  const Options options_;
  const size_t reserve_bytes_;  // Of small calls and new connections.
  std::atomic<bool> scarce_{false};
  std::atomic<bool> crowded_{false};

  Mutex mu_;
  CondVar wake_;
  size_t base_used_ ABSL_GUARDED_BY(mu_) = 0;
  size_t large_used_ ABSL_GUARDED_BY(mu_) = 0;
  size_t small_used_ ABSL_GUARDED_BY(mu_) = 0;
  size_t unasked_used_ ABSL_GUARDED_BY(mu_) = 0;
  Queue waiting_ ABSL_GUARDED_BY(mu_);
  // One of them waits for memory, not for a larger share: nobody overtakes it.
  bool blocked_ ABSL_GUARDED_BY(mu_) = false;
  bool small_blocked_ ABSL_GUARDED_BY(mu_) = false;
  // There was no memory for a connection since the last Sweep.
  bool opener_waits_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::function<void()>> to_tell_ ABSL_GUARDED_BY(mu_);
  // Those with a charge beyond the base.
  absl::flat_hash_set<Holder*> holders_ ABSL_GUARDED_BY(mu_);
  // What is charged to each.
  absl::flat_hash_map<std::string, size_t> peers_ ABSL_GUARDED_BY(mu_);
  uint64_t sent_away_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  // Tells the thread that the memory is gone; the thread's own.
  bool* gone_ = nullptr;
  std::thread thread_;
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_CLIENT_MEMORY_H_
