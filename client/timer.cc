#include "client/timer.h"

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace ramvol {
namespace {

absl::Time SteadyNow() {
  return absl::UnixEpoch() +
         absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

// Shared by the timer and its thread, either of which may live longer.
struct Queue {
  Mutex mu;
  CondVar changed;
  std::multimap<absl::Time, std::function<void()>> waiting ABSL_GUARDED_BY(mu);
  bool stopped ABSL_GUARDED_BY(mu) = false;
};

// Waits until a function is due, and takes it. Null when the queue has stopped.
std::function<void()> TakeDue(Queue& queue) {
  MutexLock lock(&queue.mu);
  while (!queue.stopped) {
    if (queue.waiting.empty()) {
      queue.changed.Wait(&queue.mu);
      continue;
    }
    auto first = queue.waiting.begin();
    const absl::Duration wait = first->first - SteadyNow();
    if (wait > absl::ZeroDuration()) {
      queue.changed.WaitFor(&queue.mu, wait);
      continue;
    }
    std::function<void()> fn = std::move(first->second);
    queue.waiting.erase(first);
    return fn;
  }
  return nullptr;
}

class ThreadTimer : public Timer {
 public:
  ThreadTimer() : queue_(std::make_shared<Queue>()) {
    thread_ = std::thread([queue = queue_] {
      while (std::function<void()> fn = TakeDue(*queue)) fn();
    });
  }

  ~ThreadTimer() override {
    std::multimap<absl::Time, std::function<void()>> dropped;
    {
      MutexLock lock(&queue_->mu);
      queue_->stopped = true;
      dropped.swap(queue_->waiting);
      queue_->changed.SignalAll();
    }
    if (thread_.get_id() == std::this_thread::get_id()) {
      thread_.detach();
    } else {
      thread_.join();
    }
  }

  absl::Time Now() const override { return SteadyNow(); }

  void RunAt(absl::Time when, std::function<void()> fn) override {
    // `fn` may hold the last reference to this timer, and may run before we
    // return.
    const std::shared_ptr<Queue> queue = queue_;
    MutexLock lock(&queue->mu);
    auto added = queue->waiting.emplace(when, std::move(fn));
    if (added == queue->waiting.begin()) queue->changed.SignalAll();
  }

  void Sleep(absl::Duration duration) override {
    std::this_thread::sleep_for(absl::ToChronoNanoseconds(duration));
  }

 private:
  const std::shared_ptr<Queue> queue_;
  std::thread thread_;
};

}  // namespace

std::shared_ptr<Timer> MakeThreadTimer() {
  return std::make_shared<ThreadTimer>();
}

}  // namespace ramvol
