#include "base/small_mutex.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace ramvol {
namespace {

static_assert(sizeof(SmallMutex) == 4);

TEST(SmallMutexTest, WritersExcludeEachOtherAndReaders) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 20000;
  SmallMutex mu;
  // Equal whenever nobody writes.
  int one = 0;
  int two = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kRounds; ++i) {
        if ((i + thread) % 4 == 0) {
          SmallMutexLock lock(&mu);
          ++one;
          ++two;
        } else {
          SmallReaderLock lock(&mu);
          ASSERT_EQ(one, two);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(one, kThreads * kRounds / 4);
}

TEST(SmallMutexTest, ReadersDoNotWaitForEachOther) {
  SmallMutex mu;
  std::atomic<int> inside{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&] {
      SmallReaderLock lock(&mu);
      ++inside;
      while (inside < 3) std::this_thread::yield();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(SmallMutexTest, AWriterGetsItsTurnAmongReaders) {
  SmallMutex mu;
  std::atomic<bool> over{false};
  std::vector<std::thread> readers;
  for (int thread = 0; thread < 3; ++thread) {
    readers.emplace_back([&] {
      while (!over) {
        SmallReaderLock lock(&mu);
        for (int i = 0; i < 100; ++i)
          std::atomic_signal_fence(std::memory_order_seq_cst);
      }
    });
  }
  for (int i = 0; i < 1000; ++i) {
    SmallMutexLock lock(&mu);
  }
  over = true;
  for (std::thread& reader : readers) reader.join();
}

TEST(SmallMutexTest, WhoSleepsIsWoken) {
  SmallMutex mu;
  for (int i = 0; i < 200; ++i) {
    mu.Lock();
    std::thread reader([&] { SmallReaderLock lock(&mu); });
    std::thread writer([&] { SmallMutexLock lock(&mu); });
    for (int j = 0; j < 20; ++j) std::this_thread::yield();
    mu.Unlock();
    reader.join();
    writer.join();
  }
}

}  // namespace
}  // namespace ramvol
