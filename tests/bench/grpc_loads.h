// Loads of BlockService: its unary calls and bare streams through generated
// code, and Io through the SDK.
#ifndef RAMVOL_TESTS_BENCH_GRPC_LOADS_H_
#define RAMVOL_TESTS_BENCH_GRPC_LOADS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "tests/bench/load.h"

namespace ramvol::bench {

enum class Direction { kRead, kWrite };

// Where operations go: at random multiples of `bytes` in the volume.
struct Target {
  std::string server;
  std::string volume;
  int64_t volume_bytes = 0;
  int64_t bytes = 0;
  Direction direction = Direction::kRead;
};

// One data block as the loads write them: half of it is noise.
std::string BlockData(int64_t bytes);

// Unary calls over one connection.
std::unique_ptr<Load> UnaryLoad(const Target& target, int depth);

// EchoService's Io over two connections, without the SDK: each operation is a
// message of its own. Reads only.
std::unique_ptr<Load> BareStreamLoad(const Target& target, int depth);

// The SDK with its default options.
std::unique_ptr<Load> SdkLoad(const Target& target, int depth);

}  // namespace ramvol::bench

#endif  // RAMVOL_TESTS_BENCH_GRPC_LOADS_H_
