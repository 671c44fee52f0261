// Who is at the other end of a connection, as TLS proved it.
#ifndef RAMVOL_BASE_PEER_NAMES_H_
#define RAMVOL_BASE_PEER_NAMES_H_

#include <string>
#include <vector>

namespace ramvol {

// The names of a certificate that was verified, or of a pre-shared key. All
// empty for a peer that proved nothing. Names with control characters or
// beyond kMaxNameBytes are left out.
struct PeerNames {
  static constexpr size_t kMaxNameBytes = 1024;
  static constexpr size_t kMaxNames = 64;

  // Subject alternative names: "spiffe://cluster/ns/vms", "node-1.example".
  std::vector<std::string> uris;
  std::vector<std::string> dns;
  std::string common_name;
  // The name of a pre-shared key.
  std::string psk_user;

  bool empty() const {
    return uris.empty() && dns.empty() && common_name.empty() &&
           psk_user.empty();
  }
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_PEER_NAMES_H_
