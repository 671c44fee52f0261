#include "server/end_connections.h"

#include <dirent.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "base/systemd.h"

namespace ramvol::server {
namespace {

constexpr absl::Duration kLookAgain = absl::Milliseconds(5);

// "unix:PATH", or ":PORT". The host does not help: a connection to a wildcard
// listener has the address that its client used.
std::string Place(const std::string& address) {
  if (address.rfind("unix:", 0) == 0) return address;
  return address.substr(std::min(address.rfind(':'), address.size()));
}

bool IsConnected(int fd) {
  sockaddr_storage peer{};
  socklen_t bytes = sizeof(peer);
  return getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &bytes) == 0;
}

// Descriptors of connections that were accepted at one of `places`. /proc lists
// them because gRPC 1.51 does not.
std::vector<int> ConnectionsAt(const std::vector<std::string>& places) {
  std::vector<int> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> open(opendir("/proc/self/fd"),
                                                 &closedir);
  if (open == nullptr) return found;
  while (const dirent* entry = readdir(open.get())) {
    int fd = -1;
    if (!absl::SimpleAtoi(entry->d_name, &fd) || !IsConnected(fd)) continue;
    const std::string place = Place(SocketAddress(fd));
    if (std::find(places.begin(), places.end(), place) != places.end()) {
      found.push_back(fd);
    }
  }
  return found;
}

}  // namespace

void EndConnections(const std::vector<std::string>& addresses,
                    absl::Time goodbye) {
  std::vector<std::string> places;
  for (const std::string& address : addresses) {
    places.push_back(Place(address));
  }
  std::vector<int> left = ConnectionsAt(places);
  while (!left.empty() && absl::Now() < goodbye) {
    absl::SleepFor(kLookAgain);
    left = ConnectionsAt(places);
  }
  for (const int fd : left) shutdown(fd, SHUT_RDWR);
}

}  // namespace ramvol::server
