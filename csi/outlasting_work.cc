#include "csi/outlasting_work.h"

#include <future>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "csi/volume_locks.h"

namespace ramvol::csi_driver {
namespace {

constexpr absl::Duration kTimeToAnswer = absl::Milliseconds(500);

}  // namespace

absl::Status OutlastingWork::Run(const std::string& what, Work work,
                                 absl::Time deadline) const {
  auto held = under_way_->TakeNamed(what);
  if (!held.ok()) return held.status();
  std::promise<absl::Status> promise;
  std::future<absl::Status> result = promise.get_future();
  std::thread([locks = under_way_, held = *std::move(held),
               work = std::move(work), promise = std::move(promise)]() mutable {
    absl::Status status;
    {
      const VolumeLocks::Held until_done = std::move(held);
      status = work();
    }
    promise.set_value(std::move(status));
  }).detach();
  if (result.wait_until(absl::ToChronoTime(deadline - kTimeToAnswer)) ==
      std::future_status::ready) {
    return result.get();
  }
  return absl::UnavailableError("that takes longer than the call; try again");
}

}  // namespace ramvol::csi_driver
