// What volumes that were deleted leave in memory.
#ifndef RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_EXPECT_ALLOCATED_H_
#define RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_EXPECT_ALLOCATED_H_

#include <cstdint>

#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "tests/support/eventually.h"

namespace ramvol::engine {

// A background thread that is at work on a volume lets go of it a little later.
inline void ExpectAllocated(const Engine& engine, uint64_t bytes) {
  const auto allocated = [&engine] {
    return engine.Stats().memory_allocated_bytes;
  };
  EXPECT_TRUE(ramvol::testing::Eventually([&] { return allocated() == bytes; }))
      << allocated() << " bytes in place of " << bytes;
}

}  // namespace ramvol::engine

#endif  // RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_EXPECT_ALLOCATED_H_
