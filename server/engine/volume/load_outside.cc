#include "server/engine/volume/load_outside.h"

#include <optional>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/engine/volume/chunk_loader.h"
#include "server/engine/volume/volume_core.h"

namespace ramvol::engine {
namespace {

constexpr absl::Duration kMaxSettle = absl::Seconds(10);
// Between two looks that find nothing.
constexpr absl::Duration kPause = absl::Milliseconds(1);

}  // namespace

uint64_t LoadOutside(
    const Arena& arena,
    absl::FunctionRef<std::vector<std::weak_ptr<ChunkOwner>>()> volumes,
    absl::FunctionRef<bool()> go_on) {
  int64_t progress_ns = SteadyNowNs();
  for (;;) {
    ChunkLoader::Counts counts;
    for (const std::weak_ptr<ChunkOwner>& volume : volumes()) {
      const auto core = std::static_pointer_cast<VolumeCore>(volume.lock());
      std::optional<uint64_t> next = 0;
      while (core != nullptr && next.has_value()) {
        if (!go_on()) return counts.failed;
        next = core->loader().LoadLeaf(*next, &counts);
      }
    }
    const int64_t now_ns = SteadyNowNs();
    if (counts.found != counts.failed) {
      progress_ns = now_ns;
      continue;
    }
    if (arena.outside_objects() <= counts.failed ||
        now_ns - progress_ns > absl::ToInt64Nanoseconds(kMaxSettle)) {
      return counts.failed;
    }
    absl::SleepFor(kPause);
  }
}

}  // namespace ramvol::engine
