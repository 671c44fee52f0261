#include "server/engine/background/work_queue.h"

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::engine {
namespace {

using ::testing::Each;

TEST(WorkQueueTest, SharedWorkIsDoneOnceWithoutHelp) {
  WorkQueue queue;
  EXPECT_FALSE(queue.Help());
  std::vector<int> calls(100);
  queue.Share(calls.size(), [&](size_t i) { ++calls[i]; });
  EXPECT_THAT(calls, Each(1));
  EXPECT_FALSE(queue.Help()) << "nothing is left";
}

TEST(WorkQueueTest, AnotherThreadTakesPart) {
  WorkQueue queue;
  std::atomic<int> inside = 0;
  std::thread helper([&] {
    while (!queue.Help()) std::this_thread::yield();
  });
  // Neither call returns before the other has begun.
  queue.Share(2, [&](size_t) {
    ++inside;
    while (inside < 2) std::this_thread::yield();
  });
  helper.join();
}

TEST(WorkQueueTest, ManyShareAndManyHelp) {
  WorkQueue queue;
  std::atomic<bool> over = false;
  std::vector<std::thread> helpers;
  for (int i = 0; i < 3; ++i) {
    helpers.emplace_back([&] {
      while (!over) queue.Help();
    });
  }
  std::vector<std::thread> sharers;
  for (int i = 0; i < 3; ++i) {
    sharers.emplace_back([&] {
      for (size_t round = 0; round < 2000; ++round) {
        // Written without locks: Share orders it all before its return.
        std::vector<int> calls(1 + round % 20);
        queue.Share(calls.size(), [&](size_t i) { ++calls[i]; });
        EXPECT_THAT(calls, Each(1));
      }
    });
  }
  for (std::thread& thread : sharers) thread.join();
  over = true;
  for (std::thread& thread : helpers) thread.join();
}

}  // namespace
}  // namespace ramvol::engine
