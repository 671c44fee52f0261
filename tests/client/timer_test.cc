#include "client/timer.h"

#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

using ::testing::ElementsAre;

// A list of numbers that can be waited for.
class Log {
 public:
  void Add(int number) {
    MutexLock lock(&mu_);
    numbers_.push_back(number);
    added_.SignalAll();
  }

  std::vector<int> Await(size_t count) {
    MutexLock lock(&mu_);
    while (numbers_.size() < count) added_.Wait(&mu_);
    return numbers_;
  }

 private:
  Mutex mu_;
  CondVar added_;
  std::vector<int> numbers_ ABSL_GUARDED_BY(mu_);
};

TEST(ThreadTimerTest, CallsInOrderOfTimeFromItsOwnThread) {
  const std::shared_ptr<Timer> timer = MakeThreadTimer();
  Log log;
  const absl::Time now = timer->Now();
  const std::thread::id caller = std::this_thread::get_id();
  timer->RunAt(now + absl::Hours(1), [&] { log.Add(4); });
  // From the timer's thread, so that none is called before all are there.
  timer->RunAt(now, [&] {
    timer->RunAt(now + absl::Milliseconds(20), [&] { log.Add(3); });
    timer->RunAt(now + absl::Milliseconds(10), [&] { log.Add(2); });
    timer->RunAt(now - absl::Hours(1), [&] {
      log.Add(std::this_thread::get_id() == caller ? -1 : 1);
    });
  });
  EXPECT_THAT(log.Await(3), ElementsAre(1, 2, 3));
  EXPECT_GE(timer->Now(), now + absl::Milliseconds(20));
}

TEST(ThreadTimerTest, ACallbackMayCallTheTimer) {
  const std::shared_ptr<Timer> timer = MakeThreadTimer();
  Log log;
  timer->RunAt(timer->Now(), [&] {
    timer->RunAt(timer->Now(), [&] { log.Add(2); });
    log.Add(1);
  });
  EXPECT_THAT(log.Await(2), ElementsAre(1, 2));
}

TEST(ThreadTimerTest, DropsWhatWaitsWhenDestroyed) {
  auto token = std::make_shared<int>(0);
  std::shared_ptr<Timer> timer = MakeThreadTimer();
  timer->RunAt(timer->Now() + absl::Hours(1), [token] { FAIL(); });
  timer->RunAt(absl::InfiniteFuture(), [token] { FAIL(); });
  timer.reset();
  EXPECT_EQ(token.use_count(), 1);
}

TEST(ThreadTimerTest, MayBeDestroyedByItsOwnCallback) {
  Log log;
  std::shared_ptr<Timer> timer = MakeThreadTimer();
  Timer& borrowed = *timer;
  borrowed.RunAt(borrowed.Now(), [&log, timer = std::move(timer)]() mutable {
    timer.reset();
    log.Add(1);
  });
  EXPECT_THAT(log.Await(1), ElementsAre(1));
}

}  // namespace
}  // namespace ramvol
