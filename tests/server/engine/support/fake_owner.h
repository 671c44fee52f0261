// A chunk owner that notes what it is asked for.
#ifndef RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_FAKE_OWNER_H_
#define RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_FAKE_OWNER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "server/engine/content/chunk_owner.h"

namespace ramvol::engine {

// Thread-safe, but for its members: look at them when all is quiet. Make it by
// std::make_shared, as the queues hold it weakly.
class FakeOwner : public ChunkOwner {
 public:
  ~FakeOwner() override {
    if (when_going) when_going();
  }
  std::optional<TenantPart> FindPart(uint64_t) override { return {}; }
  void MovePart(uint64_t) override {}
  void FlushChunk(uint64_t chunk) override {
    {
      MutexLock lock(&mu_);
      flushed.push_back(chunk);
    }
    if (when_flushing) when_flushing(chunk);
  }
  void DropClean(uint64_t chunk) override {
    {
      MutexLock lock(&mu_);
      dropped.push_back(chunk);
    }
    if (when_dropping) when_dropping(chunk);
  }
  void RewriteChunk(uint64_t chunk, RewriteReason reason) override {
    MutexLock lock(&mu_);
    rewritten.emplace_back(chunk, reason);
  }
  std::optional<uint64_t> MergeLeaf(uint64_t, bool) override { return {}; }
  uint64_t activity() const override { return 0; }

  std::function<void()> when_going;
  std::function<void(uint64_t)> when_flushing;
  std::function<void(uint64_t)> when_dropping;
  std::vector<uint64_t> flushed;
  std::vector<uint64_t> dropped;
  std::vector<std::pair<uint64_t, RewriteReason>> rewritten;

 private:
  Mutex mu_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_FAKE_OWNER_H_
