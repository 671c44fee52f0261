#include "server/access/identity.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/call_peer.h"
#include "base/peer_names.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace ramvol::access {
namespace {

bool Has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

TEST(IdentityTest, NamesTheClientOfAUnixSocket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const testing::TempDir dir = testing::TempDir::ForSockets();
  const std::string path = dir.path() + "/s";
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  const int client = socket(AF_UNIX, SOCK_STREAM, 0);
  const auto* where = reinterpret_cast<const sockaddr*>(&address);
  ASSERT_EQ(bind(listener, where, sizeof(address)), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  ASSERT_EQ(connect(client, where, sizeof(address)), 0);
  const int accepted = accept(listener, nullptr, nullptr);
  const auto names = NamesOf(PeerOfUnixSocket(accepted));
  EXPECT_TRUE(Has(names, absl::StrCat("unix:", getuid())));
  EXPECT_TRUE(Has(names, absl::StrCat("group:", getgid())));
  EXPECT_TRUE(Has(names, absl::StrCat("socket:", path)));
  for (const int fd : {listener, client, accepted}) close(fd);
}

TEST(IdentityTest, NobodyComesOverTcp) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_GE(fd, 0);
  EXPECT_TRUE(NamesOf(PeerOfUnixSocket(fd)).empty());
  close(fd);
  EXPECT_TRUE(NamesOf(PeerOfUnixSocket(-1)).empty());
}

TEST(IdentityTest, NamesWhatTlsProved) {
  const PeerNames names = {.uris = {"spiffe://a/b"},
                           .dns = {"a.example", "b.example"},
                           .common_name = "a",
                           .psk_user = "vm"};
  EXPECT_EQ(NamesOf(names),
            (std::vector<std::string>{"uri:spiffe://a/b", "dns:a.example",
                                      "dns:b.example", "cn:a", "psk:vm"}));
  EXPECT_TRUE(NamesOf(PeerNames()).empty());
}

TEST(IdentityTest, ShowsNumbersAsNames) {
  EXPECT_EQ(ForPeople("unix:0"), "unix:root");
  EXPECT_EQ(ForPeople("group:0"), "group:root");
  EXPECT_EQ(ForPeople("unix:4294967290"), "unix:4294967290");
  EXPECT_EQ(ForPeople("token:0"), "token:0");
}

TEST(IdentityTest, Text) {
  EXPECT_EQ(Identity().Text(), "anonymous");
  EXPECT_EQ((Identity{.names = {"unix:0", "token:ci"}}.Text()),
            "unix:0 token:ci");
}

}  // namespace
}  // namespace ramvol::access
