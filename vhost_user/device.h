// A virtio-blk device: its queues, the memory of its guest, and the threads
// that carry out the requests.
#ifndef RAMVOL_VHOST_USER_DEVICE_H_
#define RAMVOL_VHOST_USER_DEVICE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/block/block_device.h"
#include "base/block/thread_cache.h"
#include "base/block/work_estimate.h"
#include "base/mutex.h"
#include "vhost_user/awake_place.h"
#include "vhost_user/block_request.h"
#include "vhost_user/kick_watch.h"
#include "vhost_user/protocol/descriptor.h"
#include "vhost_user/setup.h"
#include "vhost_user/shared_mapping.h"
#include "vhost_user/stats.h"
#include "vhost_user/virtqueue.h"

namespace ramvol::vhost {

// Most threads of one device that are awake; one more when a kick wakes its
// thread while others help. On few cores: one for each.
inline constexpr int kMaxDeviceThreads = 8;
int DefaultDeviceThreads();

struct DeviceOptions {
  std::string id;  // For GET_ID.
  // Called once, by any thread, when the device cannot go on: the guest broke a
  // rule, took memory away, or the volume was deleted. Must not block.
  std::function<void(const absl::Status&)> failed;
  block::ThreadCache& threads;
  VhostStats& stats;
  int max_threads = DefaultDeviceThreads();  // Up to kMaxDeviceThreads.
};

// Each queue is served by one thread, each thread may serve several. A thread
// looks at its queues for up to 50 us before it sleeps until the guest kicks,
// as docs/decisions/0048 has it. While requests wait that take long, other
// threads help it, and answers come in any order. A queue runs while all that
// it needs is there, in whatever order that came.
//
// One thread calls Change and Stop, and destroys it. All else is thread-safe.
class Device {
 public:
  // `device` must be synchronous, and take buffers that the guest may change
  // meanwhile.
  Device(std::unique_ptr<block::BlockDevice> device, DeviceOptions options);
  // Stops.
  ~Device();

  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  bool read_only() const { return device_->read_only(); }
  uint64_t capacity_sectors() const {
    return capacity_sectors_.load(std::memory_order_relaxed);
  }
  // The volume has this size now. Whether that is another capacity.
  bool SetSize(uint64_t bytes);
  // Set when the guest took memory away.
  BrokenFlag* broken() { return &broken_; }

  // Runs `change` while no request is under way, then starts and stops queues
  // as the setup has it. An error of either is returned; what `change` changed
  // before stays.
  absl::Status Change(absl::FunctionRef<absl::Status(Setup&)> change)
      ABSL_LOCKS_EXCLUDED(mu_);

  // For `change`: puts a descriptor, or none, in the place of a queue's kick.
  absl::Status SetKick(uint32_t index, Queue& queue, Descriptor kick);

  // For `change`: puts a descriptor, or none, in the place of a queue's call or
  // error.
  void SetEvent(Queue& queue, Descriptor Queue::* place, Descriptor event)
      ABSL_LOCKS_EXCLUDED(events_mu_);
  // For `change`: a new queue.
  absl::Status ResetQueue(uint32_t index, std::unique_ptr<Queue>& queue)
      ABSL_LOCKS_EXCLUDED(events_mu_);

  // Frees threads that the front-end makes wait, by events whose counter it has
  // filled. Call it now and then while the connection should end.
  void Unblock() ABSL_NO_THREAD_SAFETY_ANALYSIS;

  // Ends all threads, after the requests under way. Requests that nobody took
  // stay in the rings.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Worker {
    KickWatch kicks;
    bool started = false;
    bool looks = true;  // Staying awake was enough the last time. Its own.
    // Threads that serve its queues, too, and leave when there is no work.
    std::atomic<int> helpers{0};
  };
  // What a thread has of its own.
  struct Thread {
    AwakePlace place;
    Chain chain;
    int64_t idle_since;
  };

  bool Runs(const Queue& queue) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  absl::Status Settle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status SettleQueue(uint32_t index, Queue& queue)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status StartWorker(int index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // False when the system has no more threads.
  bool StartThread(std::function<void()> run) ABSL_LOCKS_EXCLUDED(wait_mu_);
  void ThreadEnds() ABSL_LOCKS_EXCLUDED(wait_mu_);
  void WakeAll() ABSL_LOCKS_EXCLUDED(mu_);
  void Work(int index) ABSL_LOCKS_EXCLUDED(mu_);
  // Has another thread serve the worker's queues, too, unless there are enough.
  void GetHelp(int index) ABSL_LOCKS_EXCLUDED(wait_mu_);
  void Help(int index) ABSL_LOCKS_EXCLUDED(mu_);
  // Serves a worker's queues once, or waits awake. False when that should end.
  bool ServeOrLook(int index, bool looks, Thread* me) ABSL_LOCKS_EXCLUDED(mu_);
  // Serves all queues of a worker once. True when there was something to do.
  bool ServeAll(int index, Chain* chain) ABSL_LOCKS_EXCLUDED(mu_);
  bool Serve(int index, Queue& queue, Chain* chain)
      ABSL_SHARED_LOCKS_REQUIRED(mu_) ABSL_LOCKS_EXCLUDED(queue.mu);
  // Gives the queue to others meanwhile, if there are any.
  absl::StatusOr<RequestResult> CarryOut(int index, Queue& queue,
                                         const Chain& chain)
      ABSL_SHARED_LOCKS_REQUIRED(mu_) ABSL_EXCLUSIVE_LOCKS_REQUIRED(queue.mu);
  // Sleeps until there is something to do.
  void Sleep(int index) ABSL_LOCKS_EXCLUDED(mu_);
  void WaitForChange() ABSL_LOCKS_EXCLUDED(mu_);
  // Whether there is no change; then Leave must follow.
  bool Enter();
  void Leave();
  // Waits until no worker serves, and frees those that the guest makes wait.
  void WaitForWorkers() ABSL_LOCKS_EXCLUDED(mu_);
  void MarkWritten(const Chain& chain) ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void Fail(const absl::Status& why);
  bool over() const {
    return stopping_.load(std::memory_order_relaxed) ||
           failed_.load(std::memory_order_relaxed);
  }

  template <typename Do>
  void ForQueuesOf(int worker, Do action) ABSL_SHARED_LOCKS_REQUIRED(mu_);

  const std::unique_ptr<block::BlockDevice> device_;
  const DeviceOptions options_;
  std::atomic<uint64_t> capacity_sectors_;
  BrokenFlag broken_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> failed_{false};
  block::WorkEstimate estimate_;
  // Threads that do not sleep, and those about to start.
  std::atomic<int> awake_{0};
  // Changes that wait for the workers, and workers that serve. A guest can make
  // these wait, so that a change does not just wait for mu_.
  std::atomic<int> changes_{0};
  std::atomic<int> serving_{0};

  // Shared by the workers and helpers.
  SharedMutex mu_;
  Setup setup_ ABSL_GUARDED_BY(mu_);

  // Of queues' calls and errors, beside mu_, which a thread may have that waits
  // for the front-end.
  Mutex events_mu_;

  Mutex wait_mu_;
  CondVar changed_;
  int running_ ABSL_GUARDED_BY(wait_mu_) = 0;

  std::array<Worker, kMaxDeviceThreads> workers_;
};

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_DEVICE_H_
