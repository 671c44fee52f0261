// How a thread sleeps until a guest kicks one of its queues.
#ifndef RAMVOL_VHOST_USER_KICK_WATCH_H_
#define RAMVOL_VHOST_USER_KICK_WATCH_H_

#include "absl/status/status.h"
#include "vhost_user/protocol/descriptor.h"

namespace ramvol::vhost {

// One thread calls Wait while another one may call Wake. Set needs Wait's
// thread to be elsewhere or asleep in it.
class KickWatch {
 public:
  // Puts a kick, or none, in the place of `*kick`. Closed: nobody kicks.
  absl::Status Set(Descriptor* kick, Descriptor fresh);
  // Ends Wait, now or the next time.
  void Wake() const;
  // Until a kick or Wake has come since the last time, or for so long; -1: for
  // ever.
  void Wait(int timeout_ms) const;

 private:
  absl::Status Open();

  Descriptor epoll_;
  Descriptor wake_;
};

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_KICK_WATCH_H_
