#include "base/ticker.h"

#include "absl/time/time.h"
#include "base/mutex.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

TEST(TickerTest, CallsAgainAndAgainUntilItIsGone) {
  Mutex mu;
  CondVar changed;
  int ticks = 0;
  {
    Ticker ticker(absl::Milliseconds(1), [&] {
      MutexLock lock(&mu);
      ++ticks;
      changed.SignalAll();
    });
    MutexLock lock(&mu);
    while (ticks < 3) changed.Wait(&mu);
  }
  const int at_the_end = ticks;
  EXPECT_GE(at_the_end, 3);
}

TEST(TickerTest, DoesNotWaitForTheNextOneAtItsEnd) {
  int ticks = 0;
  {
    const Ticker ticker(absl::Hours(1), [&] { ++ticks; });
  }
  EXPECT_EQ(ticks, 0);
}

}  // namespace
}  // namespace ramvol
