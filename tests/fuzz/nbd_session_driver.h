// An NBD connection as the server has it, over a volume in memory, for fuzzers.
#ifndef RAMVOL_TESTS_FUZZ_NBD_SESSION_DRIVER_H_
#define RAMVOL_TESTS_FUZZ_NBD_SESSION_DRIVER_H_

#include <string>
#include <string_view>

#include "base/nbd_constants.h"
#include "nbd_bridge/negotiation.h"
#include "nbd_bridge/socket.h"

namespace ramvol::testing {

// An option as a client sends it.
std::string OptionText(nbd::Option option, std::string_view data);

// What a client says first: its flags, or nothing with `how` 0, and, from 2 on,
// the options that lead into the transmission phase in one of several styles.
inline constexpr int kNbdPreludes = 7;
std::string NbdPrelude(int how);

// Serves a client to its end, with the volume "v" and the snapshot "@s". Aborts
// when a request did not come to an end.
void ServeNbd(nbd::Socket& socket, nbd::NegotiationOptions options,
              bool synchronous);

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_FUZZ_NBD_SESSION_DRIVER_H_
