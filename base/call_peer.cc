#include "base/call_peer.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace ramvol {
namespace {

// More groups than these are left out.
constexpr size_t kMaxGroups = 256;

std::vector<gid_t> GroupsOf(int fd, gid_t primary) {
  std::vector<gid_t> groups(kMaxGroups);
  auto bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) != 0) {
    return {primary};
  }
  groups.resize(bytes / sizeof(gid_t));
  if (std::find(groups.begin(), groups.end(), primary) == groups.end()) {
    groups.push_back(primary);
  }
  return groups;
}

// Where the server listens; "" for sockets of no path.
std::string PathOf(int fd) {
  sockaddr_un address{};
  socklen_t bytes = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0 ||
      bytes <= sizeof(address.sun_family)) {
    return "";
  }
  // A path that takes all the room has no zero at its end.
  return std::string(address.sun_path,
                     strnlen(address.sun_path, sizeof(address.sun_path)));
}

bool IsUnix(int fd) {
  int domain = 0;
  socklen_t bytes = sizeof(domain);
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0 &&
         domain == AF_UNIX;
}

}  // namespace

CallPeer PeerOfUnixSocket(int fd) {
  CallPeer peer;
  ucred credentials{};
  socklen_t bytes = sizeof(credentials);
  if (!IsUnix(fd) ||
      getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) {
    return peer;
  }
  peer.uid = credentials.uid;
  peer.groups = GroupsOf(fd, credentials.gid);
  peer.socket_path = PathOf(fd);
  return peer;
}

}  // namespace ramvol
