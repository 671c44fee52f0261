#include "csi/volume_handle.h"

#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

TEST(NameOfHandleTest, ANameStandsForItself) {
  EXPECT_EQ(NameOfHandle("pvc-0a1b"), "pvc-0a1b");
  EXPECT_EQ(NameOfHandle(std::string(63, 'a')), std::string(63, 'a'));
}

TEST(NameOfHandleTest, OtherHandlesGetNamesThatStay) {
  for (const std::string& handle :
       {std::string("Upper"), std::string("-x"), std::string("x-"),
        std::string("with space"), std::string(64, 'a'), std::string(128, 'a'),
        "csi-" + std::string(64, '0'), "csi-" + std::string(32, '0')}) {
    EXPECT_THAT(NameOfHandle(handle), MatchesRegex("csi-[0-9a-f]{32}"));
    EXPECT_NE(NameOfHandle(handle), handle);
    EXPECT_EQ(NameOfHandle(handle), NameOfHandle(handle));
  }
  EXPECT_NE(NameOfHandle("Upper"), NameOfHandle("UPPER"));
  // Volumes of earlier versions are found by it.
  EXPECT_EQ(NameOfHandle("Upper"), "csi-ada6d7a662f03a9ad858d482acae6970");
}

TEST(CheckHandleTest, NamesWhatIsWrong) {
  EXPECT_THAT(CheckHandle("volume_id", "x"), IsOk());
  EXPECT_THAT(CheckHandle("volume_id", std::string(128, 'x')), IsOk());
  EXPECT_THAT(CheckHandle("volume_id", ""),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("volume_id is missing")));
  EXPECT_THAT(CheckHandle("name", std::string(129, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("name has 129 bytes")));
  EXPECT_THAT(
      CheckHandle("name", "a\nb"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("printable")));
}

TEST(HandleOfMemberTest, IsANameOfItsOwnForEachGroupAndVolume) {
  const std::string member = HandleOfMember("a", "bc");
  EXPECT_EQ(NameOfHandle(member), member);
  EXPECT_EQ(HandleOfMember("a", "bc"), member);
  EXPECT_NE(HandleOfMember("ab", "c"), member);
  EXPECT_NE(HandleOfMember("a", "bd"), member);
}

}  // namespace
}  // namespace ramvol::csi_driver
