// The measurements of `ramvol top`: all volumes' counters and their growth.
#ifndef RAMVOL_CLIENT_CLI_OUTPUT_TOP_SAMPLE_H_
#define RAMVOL_CLIENT_CLI_OUTPUT_TOP_SAMPLE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {

// The state of the server and of its volumes at about one moment.
struct TopSample {
  struct Volume {
    std::string name;
    std::string uid;
    v1::VolumeStats stats;
  };

  absl::Time time;
  v1::GetServerInfoResponse server;
  std::vector<Volume> volumes;  // In order of names.
};

// Asks the server. Leaves out volumes that are deleted meanwhile.
absl::StatusOr<TopSample> TakeTopSample(const Client& client, absl::Time now);

// The rates between two samples.
struct TopRates {
  double operations_per_second = 0;
  double bytes_per_second = 0;
  // Mean time in the server's engine. 0 when no operation ended.
  double microseconds = 0;
};

struct TopLine {
  std::string name;
  v1::VolumeStats stats;  // From the later sample.
  TopRates read;
  TopRates write;
  // Trims, zeroes, flushes and queries for extents.
  double other_operations_per_second = 0;
  double errors_per_second = 0;
  // The part of the blocks read that was in the hot cache. -1 when no blocks
  // were read.
  double hit_rate = -1;

  double operations_per_second() const {
    return read.operations_per_second + write.operations_per_second +
           other_operations_per_second;
  }
};

struct TopView {
  absl::Time time;
  absl::Duration interval;
  v1::GetServerInfoResponse server;
  TopLine total;                 // The sum of all volumes. Has no name.
  std::vector<TopLine> volumes;  // In order of names.
};

// The counters of a volume that is new in `after`, or has another uid than in
// `before`, count from 0.
TopView CompareTopSamples(const TopSample& before, const TopSample& after);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_OUTPUT_TOP_SAMPLE_H_
