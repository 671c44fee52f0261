// A chunk worker that notes what it is asked for.
#ifndef RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_FAKE_WORKER_H_
#define RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_FAKE_WORKER_H_

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "server/engine/background/chunk_worker.h"
#include "server/engine/content/home.h"

namespace ramvol::engine {

// Passes on what it is asked for to `to`, if that is set. Thread-safe, but for
// its members: look at them when all is quiet.
class FakeWorker final : public ChunkWorker {
 public:
  void Flush(const Home& home) override {
    {
      MutexLock lock(&mu_);
      flushed.push_back(home.chunk());
    }
    if (when_flushing) when_flushing(home);
    if (to != nullptr) to->Flush(home);
  }
  void DropClean(const Home& home) override {
    {
      MutexLock lock(&mu_);
      dropped.push_back(home.chunk());
    }
    if (to != nullptr) to->DropClean(home);
  }
  void Rewrite(const Home& home, RewriteReason reason) override {
    {
      MutexLock lock(&mu_);
      rewritten.emplace_back(home.chunk(), reason);
    }
    if (to != nullptr) to->Rewrite(home, reason);
  }
  void MoveFrames(const Home& home) override {
    if (to != nullptr) to->MoveFrames(home);
  }

  ChunkWorker* to = nullptr;
  std::function<void(const Home&)> when_flushing;
  std::vector<uint64_t> flushed;
  std::vector<uint64_t> dropped;
  std::vector<std::pair<uint64_t, RewriteReason>> rewritten;

 private:
  Mutex mu_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_FAKE_WORKER_H_
