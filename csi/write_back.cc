#include "csi/write_back.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <future>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/file_descriptor.h"
#include "csi/volume_locks.h"

namespace ramvol::csi_driver {

absl::Status Sync(const std::string& path, bool is_device,
                  const std::function<bool()>& is_it) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.is_open() && !is_it()) {
    return absl::UnavailableError(
        absl::StrCat(path, " was unmounted just now; try again"));
  }
  // A device has no file system that syncfs could write.
  if (file.is_open() &&
      (is_device ? fsync(file.get()) : syncfs(file.get())) == 0) {
    return absl::OkStatus();
  }
  return absl::InternalError(absl::StrCat(path, ": ", std::strerror(errno)));
}

absl::Status WriteBack::Run(const std::string& volume, Work work,
                            absl::Time deadline) const {
  auto held = under_way_->Take(volume);
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
  if (result.wait_until(absl::ToChronoTime(deadline)) ==
      std::future_status::ready) {
    return result.get();
  }
  return absl::UnavailableError("that takes longer than the call; try again");
}

}  // namespace ramvol::csi_driver
