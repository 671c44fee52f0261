// One client for neighbours.py: random reads or writes over Io, by the SDK.
// Prints "OPS_A_SECOND P50_US P99_US".
//
//   neighbour_load SERVER VOLUME VOLUME_BYTES BYTES DEPTH SECONDS [write]
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "tests/bench/grpc_loads.h"
#include "tests/bench/load.h"

int main(int argc, char** argv) {
  using ramvol::bench::Direction;
  using ramvol::bench::Measurement;
  if (argc < 7) {
    std::fprintf(stderr,
                 "usage: neighbour_load SERVER VOLUME VOLUME_BYTES BYTES DEPTH "
                 "SECONDS [write]\n");
    return 2;
  }
  const int depth = std::atoi(argv[5]);
  const auto load = ramvol::bench::SdkLoad(
      {.server = argv[1],
       .volume = argv[2],
       .volume_bytes = std::atoll(argv[3]),
       .bytes = std::atoll(argv[4]),
       .direction = argc > 7 ? Direction::kWrite : Direction::kRead},
      depth);
  // The server's CPU time is not asked for, so any process will do.
  const Measurement measured =
      ramvol::bench::Measure(*load, depth, std::atof(argv[6]), /*server=*/1);
  std::printf("%.0f %.1f %.1f\n", measured.ops_per_s, measured.p50_us,
              measured.p99_us);
  return 0;
}
