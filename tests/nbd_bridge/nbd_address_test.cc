#include "nbd_bridge/nbd_address.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/listen_address.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::nbd {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(NbdAddressTest, ReadsEachKind) {
  const auto addresses =
      ParseNbdAddresses("unix:/run/x.sock,[::1]:10809,vsock:7,systemd");
  ASSERT_THAT(addresses, IsOk());
  ASSERT_THAT(*addresses, SizeIs(4));
  EXPECT_EQ((*addresses)[0].kind, NbdAddress::Kind::kStream);
  EXPECT_EQ((*addresses)[0].stream.unix_path, "/run/x.sock");
  EXPECT_EQ((*addresses)[1].kind, NbdAddress::Kind::kStream);
  EXPECT_EQ((*addresses)[1].stream.port, 10809);
  EXPECT_EQ((*addresses)[2].kind, NbdAddress::Kind::kVsock);
  EXPECT_EQ((*addresses)[2].vsock_port, 7u);
  EXPECT_EQ((*addresses)[3].kind, NbdAddress::Kind::kSystemd);
}

TEST(NbdAddressTest, RefusesOthersByName) {
  for (const char* text : {"", "localhost", "vsock:", "vsock:x",
                           "vsock:4294967296", "vsock:-1", "systemd:"}) {
    EXPECT_THAT(ParseNbdAddresses(text),
                StatusIs(kInvalid, HasSubstr(absl::StrCat("\"", text, "\""))))
        << text;
  }
  EXPECT_THAT(ParseNbdAddresses("vsock:x"),
              StatusIs(kInvalid, HasSubstr("write vsock:PORT")));
  EXPECT_THAT(ParseNbdAddresses("systemd,,vsock:1"),
              StatusIs(kInvalid, HasSubstr("\"\"")));
}

TEST(NbdAddressTest, TakesSoManyAndNoMore) {
  std::string text = "vsock:1";
  for (size_t i = 1; i < kMaxListenAddresses; ++i) text += ",vsock:1";
  EXPECT_THAT(ParseNbdAddresses(text), IsOk());
  EXPECT_THAT(
      ParseNbdAddresses(text + ",vsock:1"),
      StatusIs(kInvalid, AllOf(HasSubstr(absl::StrCat(kMaxListenAddresses + 1)),
                               HasSubstr("at most"))));
}

}  // namespace
}  // namespace ramvol::nbd
