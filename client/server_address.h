// The addresses of servers that programs take.
#ifndef RAMVOL_CLIENT_SERVER_ADDRESS_H_
#define RAMVOL_CLIENT_SERVER_ADDRESS_H_

#include <string>
#include <string_view>

namespace ramvol {

inline constexpr int kDefaultServerPort = 7420;

// Adds the default port to an address that is only a host: "box" becomes
// "box:7420", "::1" becomes "[::1]:7420". Other addresses, such as "unix:PATH",
// stay as they are.
std::string WithDefaultPort(std::string_view address);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_SERVER_ADDRESS_H_
