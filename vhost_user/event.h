// What is told by eventfds, which others have, too.
#ifndef RAMVOL_VHOST_USER_EVENT_H_
#define RAMVOL_VHOST_USER_EVENT_H_

#include "vhost_user/protocol/descriptor.h"

namespace ramvol::vhost {

// Tells whoever waits for it. Waits itself while another filled its counter.
void Signal(const Descriptor& event);

// Empties its counter. Does not wait.
void Drain(const Descriptor& event);

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_EVENT_H_
