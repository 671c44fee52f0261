// A chunk owner of which nothing is to be had.
#ifndef RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_FAKE_OWNER_H_
#define RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_FAKE_OWNER_H_

#include <cstdint>
#include <optional>

#include "server/engine/content/chunk_owner.h"

namespace ramvol::engine {

class FakeOwner : public ChunkOwner {
 public:
  std::optional<TenantPart> FindPart(uint64_t) override { return {}; }
  void MovePart(uint64_t) override {}
  std::optional<uint64_t> MergeLeaf(uint64_t, bool, uint32_t) override {
    return {};
  }
  uint64_t activity() const override { return 0; }
};

}  // namespace ramvol::engine

#endif  // RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_FAKE_OWNER_H_
