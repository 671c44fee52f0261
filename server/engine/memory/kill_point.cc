#include "server/engine/memory/kill_point.h"

#include <csignal>

namespace ramvol::engine {
namespace internal_kill_point {

std::atomic<int64_t> left_for_test{-1};

void CountDown() {
  if (left_for_test.fetch_sub(1, std::memory_order_relaxed) == 0) {
    raise(SIGKILL);
  }
}

}  // namespace internal_kill_point

void KillAtPointForTest(int64_t n) {
  internal_kill_point::left_for_test.store(n, std::memory_order_relaxed);
}

}  // namespace ramvol::engine
