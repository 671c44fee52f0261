#include "server/engine/content/publish.h"

#include <csignal>

namespace ramvol::engine {
namespace internal_publish {

std::atomic<int64_t> left_for_test{-1};

void CountDown() {
  if (left_for_test.fetch_sub(1, std::memory_order_relaxed) == 0) {
    raise(SIGKILL);
  }
}

}  // namespace internal_publish

void KillAfterPublicationsForTest(int64_t n) {
  internal_publish::left_for_test.store(n, std::memory_order_relaxed);
}

}  // namespace ramvol::engine
