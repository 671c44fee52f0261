#include "base/block/thread_cache.h"

#include <atomic>
#include <memory>
#include <thread>

#include "gtest/gtest.h"

namespace ramvol::block {
namespace {

TEST(ThreadCacheTest, RunsTasksAtOnce) {
  // Each waits for all the others.
  constexpr int kTasks = 20;
  std::atomic<int> running{0};
  ThreadCache threads;
  for (int i = 0; i < kTasks; ++i) {
    ASSERT_TRUE(threads.Run([&running] {
      ++running;
      while (running < kTasks) std::this_thread::yield();
    }));
  }
}

TEST(ThreadCacheTest, TasksMayStartTasks) {
  std::atomic<int> ran{0};
  {
    ThreadCache threads;
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(threads.Run([&] {
        ++ran;
        EXPECT_TRUE(threads.Run([&ran] { ++ran; }));
      }));
    }
  }
  EXPECT_EQ(ran, 2000);
}

TEST(ThreadCacheTest, WhatATaskHoldsIsGoneWithTheCache) {
  for (int i = 0; i < 500; ++i) {
    const auto held = std::make_shared<int>(0);
    {
      ThreadCache threads;
      ASSERT_TRUE(threads.Run([held] { ++*held; }));
    }
    EXPECT_EQ(*held, 1);
    EXPECT_EQ(held.use_count(), 1);
  }
}

}  // namespace
}  // namespace ramvol::block
