// Places at which a test kills the process.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_KILL_POINT_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_KILL_POINT_H_

#include <atomic>
#include <cstdint>

namespace ramvol::engine {

// Kills the process, as SIGKILL does, at the n-th kill point from now (0: the
// next one). Negative: never.
void KillAtPointForTest(int64_t n);

namespace internal_kill_point {
extern std::atomic<int64_t> left_for_test;
void CountDown();
}  // namespace internal_kill_point

// Between two steps that a later process may find apart.
inline void KillPoint() {
  if (internal_kill_point::left_for_test.load(std::memory_order_relaxed) >= 0) {
    internal_kill_point::CountDown();
  }
}

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_KILL_POINT_H_
