#include "server/service/executor.h"

#include <atomic>
#include <future>
#include <memory>
#include <vector>

#include "gtest/gtest.h"

namespace ramvol::service {
namespace {

// What tasks refer to is declared before the executor, whose end waits for
// them.

TEST(ExecutorTest, RunsEverythingBeforeItEnds) {
  std::atomic<int> ran{0};
  {
    Executor executor(2);
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(executor.Submit(i % 2 == 0 ? Lane::kPrompt : Lane::kMayWait,
                                  [&ran] { ++ran; }));
    }
  }
  EXPECT_EQ(ran, 1000);
}

TEST(ExecutorTest, WaitingTasksLeaveThreadsForOthers) {
  std::promise<void> let_go;
  std::shared_future<void> wait = let_go.get_future().share();
  std::atomic<int> waited{0};
  std::promise<void> prompt;
  Executor executor(1);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(executor.Submit(Lane::kMayWait, [wait, &waited] {
      wait.wait();
      ++waited;
    }));
  }
  ASSERT_TRUE(
      executor.Submit(Lane::kPrompt, [&prompt] { prompt.set_value(); }));
  prompt.get_future().wait();
  EXPECT_EQ(waited, 0);
  let_go.set_value();
}

TEST(ExecutorTest, ALaneKeepsItsOrder) {
  std::vector<int> order;
  {
    Executor executor(1);
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(
          executor.Submit(Lane::kPrompt, [&order, i] { order.push_back(i); }));
    }
  }
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(ExecutorTest, AFullQueueRefuses) {
  std::promise<void> let_go;
  std::promise<void> begun;
  std::atomic<size_t> ran{0};
  Executor executor(1);
  ASSERT_TRUE(executor.Submit(Lane::kMayWait, [&begun, &let_go] {
    begun.set_value();
    let_go.get_future().wait();
  }));
  begun.get_future().wait();
  for (size_t i = 0; i < Executor::kMaxQueuedTasks; ++i) {
    ASSERT_TRUE(executor.Submit(Lane::kMayWait, [&ran] { ++ran; }));
  }
  EXPECT_FALSE(executor.Submit(Lane::kMayWait, [&ran] { ++ran; }));
  // The other lane has its own.
  EXPECT_TRUE(executor.Submit(Lane::kPrompt, [] {}));
  let_go.set_value();
}

TEST(ExecutorTest, LetsGoOfWhatATaskHeld) {
  auto held = std::make_shared<int>(1);
  std::weak_ptr<int> watch = held;
  std::promise<void> next;
  Executor executor(1);
  ASSERT_TRUE(executor.Submit(Lane::kPrompt, [held = std::move(held)] {}));
  ASSERT_TRUE(executor.Submit(Lane::kPrompt, [&next] { next.set_value(); }));
  next.get_future().wait();
  EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace ramvol::service
