#include "vhost_user/kick_watch.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <array>
#include <utility>

#include "vhost_user/event.h"

namespace ramvol::vhost {
namespace {

// What epoll tells of.
enum : uint32_t { kKick, kWake };

bool Add(const Descriptor& epoll, const Descriptor& event, uint32_t events,
         uint32_t what) {
  epoll_event wish{};
  wish.events = events;
  wish.data.u32 = what;
  return epoll_ctl(epoll.get(), EPOLL_CTL_ADD, event.get(), &wish) == 0;
}

}  // namespace

absl::Status KickWatch::Open() {
  if (epoll_.is_open()) return absl::OkStatus();
  Descriptor epoll(epoll_create1(EPOLL_CLOEXEC));
  Descriptor wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll.is_open() || !wake.is_open() ||
      !Add(epoll, wake, EPOLLIN, kWake)) {
    return absl::ResourceExhaustedError(
        "the process has no more file descriptors");
  }
  epoll_ = std::move(epoll);
  wake_ = std::move(wake);
  return absl::OkStatus();
}

absl::Status KickWatch::Set(Descriptor* kick, Descriptor fresh) {
  absl::Status opened = Open();
  if (!opened.ok()) return opened;
  // Others have it, too, so that closing does not take it out.
  if (kick->is_open()) {
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, kick->get(), nullptr);
  }
  kick->Reset();
  *kick = std::move(fresh);
  // Edge-triggered, so that it need not be read.
  if (kick->is_open() && !Add(epoll_, *kick, EPOLLIN | EPOLLET, kKick)) {
    return absl::InvalidArgumentError("a kick that cannot be waited for");
  }
  return absl::OkStatus();
}

void KickWatch::Wake() const { Signal(wake_); }

void KickWatch::Wait(int timeout_ms) const {
  std::array<epoll_event, 8> events;
  const int ready = epoll_wait(epoll_.get(), events.data(),
                               static_cast<int>(events.size()), timeout_ms);
  for (int i = 0; i < ready; ++i) {
    if (events[i].data.u32 == kWake) Drain(wake_);
  }
}

}  // namespace ramvol::vhost
