#include "server/access/identity.h"

#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/printable.h"

namespace ramvol::access {
namespace {

// More groups than these are left out.
constexpr size_t kMaxGroups = 256;
constexpr size_t kLookUpBytes = size_t{16} << 10;

std::vector<gid_t> GroupsOf(int fd, gid_t primary) {
  std::vector<gid_t> groups(kMaxGroups);
  auto bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) != 0) {
    return {primary};
  }
  groups.resize(bytes / sizeof(gid_t));
  for (const gid_t group : groups) {
    if (group == primary) return groups;
  }
  groups.push_back(primary);
  return groups;
}

// Where the server listens; "" for other sockets, and for those of no path.
std::string PathOf(int fd) {
  sockaddr_un address{};
  socklen_t bytes = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0 ||
      address.sun_family != AF_UNIX || bytes <= sizeof(address.sun_family)) {
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

std::string Identity::Text() const {
  return names.empty() ? "anonymous" : Printable(absl::StrJoin(names, " "));
}

std::vector<std::string> NamesOfUnixPeer(int fd) {
  std::vector<std::string> names;
  ucred peer{};
  socklen_t bytes = sizeof(peer);
  if (!IsUnix(fd) ||
      getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) {
    return names;
  }
  names.push_back(absl::StrCat("unix:", peer.uid));
  for (const gid_t group : GroupsOf(fd, peer.gid)) {
    names.push_back(absl::StrCat("group:", group));
  }
  if (const std::string path = PathOf(fd); !path.empty()) {
    names.push_back(absl::StrCat("socket:", path));
  }
  return names;
}

std::string ForPeople(const std::string& name) {
  absl::string_view rest = name;
  uint32_t number = 0;
  std::array<char, kLookUpBytes> buffer{};
  if (absl::ConsumePrefix(&rest, "unix:") && absl::SimpleAtoi(rest, &number)) {
    passwd user{};
    passwd* found = nullptr;
    getpwuid_r(number, &user, buffer.data(), buffer.size(), &found);
    return found == nullptr ? name : absl::StrCat("unix:", found->pw_name);
  }
  rest = name;
  if (absl::ConsumePrefix(&rest, "group:") && absl::SimpleAtoi(rest, &number)) {
    group entry{};
    group* found = nullptr;
    getgrgid_r(number, &entry, buffer.data(), buffer.size(), &found);
    return found == nullptr ? name : absl::StrCat("group:", found->gr_name);
  }
  return name;
}

}  // namespace ramvol::access
