#include "vhost_user/event.h"

#include <poll.h>
#include <unistd.h>

#include <cstdint>

namespace ramvol::vhost {

void Signal(const Descriptor& event) {
  if (!event.is_open()) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written =
      write(event.get(), &one, sizeof(one));
}

void Drain(const Descriptor& event) {
  if (!event.is_open()) return;
  pollfd look{event.get(), POLLIN, 0};
  uint64_t count;
  if (poll(&look, 1, 0) == 1 && (look.revents & POLLIN) != 0) {
    [[maybe_unused]] const ssize_t got =
        read(event.get(), &count, sizeof(count));
  }
}

}  // namespace ramvol::vhost
