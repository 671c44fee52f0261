// The server's own threads. Engine calls run here, so that gRPC's few threads
// never wait for them.
#ifndef RAMVOL_SERVER_SERVICE_EXECUTOR_H_
#define RAMVOL_SERVER_SERVICE_EXECUTOR_H_

#include <array>
#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"

namespace ramvol::service {

// How long a task may occupy its thread.
enum class Lane {
  // Takes CPU time only: reads, trims, control.
  kPrompt,
  // May wait for memory or for compression: writes.
  kMayWait,
};
inline constexpr int kLanes = 2;

// A fixed number of threads, and a bounded queue for each lane. Tasks of one
// lane begin in the order of submission. Tasks that may wait never occupy all
// threads, so that prompt ones never queue behind them.
//
// Thread-safe.
class Executor {
 public:
  // Most tasks that may wait in one lane.
  static constexpr size_t kMaxQueuedTasks = 65536;
  static constexpr int kMaxThreads = 256;

  // Each lane may use `lane_threads` threads at a time; there are twice as many
  // threads. `lane_threads` is 1 to kMaxThreads / 2.
  explicit Executor(int lane_threads);
  // Runs all queued tasks, then joins the threads.
  ~Executor();

  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // False, without running `task`, when the lane's queue is full.
  [[nodiscard]] bool Submit(Lane lane, std::function<void()> task);

  int lane_threads() const { return lane_threads_; }

 private:
  void RunWorker();
  // The first lane with a task that may start, or kLanes.
  size_t NextLaneLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const int lane_threads_;

  Mutex mu_;
  CondVar wake_;
  std::array<std::deque<std::function<void()>>, kLanes> queues_
      ABSL_GUARDED_BY(mu_);
  std::array<int, kLanes> running_ ABSL_GUARDED_BY(mu_) = {};
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  std::vector<std::thread> threads_;  // Set at construction.
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_EXECUTOR_H_
