#include "server/access/identity.h"

#include <grp.h>
#include <pwd.h>

#include <array>
#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/printable.h"

namespace ramvol::access {
namespace {

constexpr size_t kLookUpBytes = size_t{16} << 10;

}  // namespace

std::string Identity::Text() const {
  return names.empty() ? "anonymous" : Printable(absl::StrJoin(names, " "));
}

std::vector<std::string> NamesOf(const PeerNames& names) {
  std::vector<std::string> all;
  for (const std::string& uri : names.uris) {
    all.push_back(absl::StrCat("uri:", uri));
  }
  for (const std::string& dns : names.dns) {
    all.push_back(absl::StrCat("dns:", dns));
  }
  if (!names.common_name.empty()) {
    all.push_back(absl::StrCat("cn:", names.common_name));
  }
  if (!names.psk_user.empty()) {
    all.push_back(absl::StrCat("psk:", names.psk_user));
  }
  return all;
}

std::vector<std::string> NamesOf(const CallPeer& peer) {
  std::vector<std::string> all = NamesOf(peer.names);
  if (peer.uid.has_value()) all.push_back(absl::StrCat("unix:", *peer.uid));
  for (const gid_t group : peer.groups) {
    all.push_back(absl::StrCat("group:", group));
  }
  if (!peer.socket_path.empty()) {
    all.push_back(absl::StrCat("socket:", peer.socket_path));
  }
  return all;
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
