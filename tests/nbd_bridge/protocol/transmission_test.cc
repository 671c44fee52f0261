#include "nbd_bridge/protocol/transmission.h"

#include <cstdint>
#include <string>

#include "gtest/gtest.h"
#include "nbd_bridge/protocol/wire.h"

namespace ramvol::nbd {
namespace {

// All of a request but its length, which ends it.
WireWriter Begin(uint32_t magic) {
  WireWriter writer;
  writer.Number(magic)
      .Number(kCmdFua)
      .Number(static_cast<uint16_t>(Command::kWrite))
      .Number(uint64_t{0x0102030405060708})
      .Number(uint64_t{1} << 40);
  return writer;
}

TEST(TransmissionTest, ExtendedRequestsHaveWideLengths) {
  const std::string bytes =
      Begin(kExtendedRequestMagic).Number((uint64_t{1} << 32) + 5).text();
  ASSERT_EQ(bytes.size(), RequestBytes(Style::kExtended));
  RequestHeader header;
  ASSERT_TRUE(DecodeRequest(Style::kExtended, bytes.data(), &header));
  EXPECT_EQ(header.flags, kCmdFua);
  EXPECT_EQ(header.command, static_cast<uint16_t>(Command::kWrite));
  EXPECT_EQ(header.cookie, 0x0102030405060708u);
  EXPECT_EQ(header.offset, uint64_t{1} << 40);
  EXPECT_EQ(header.length, (uint64_t{1} << 32) + 5);
}

TEST(TransmissionTest, OtherRequestsHaveShortOnes) {
  const std::string bytes = Begin(kRequestMagic).Number(uint32_t{5}).text();
  for (const Style style : {Style::kSimple, Style::kStructured}) {
    ASSERT_EQ(bytes.size(), RequestBytes(style));
    RequestHeader header;
    ASSERT_TRUE(DecodeRequest(style, bytes.data(), &header));
    EXPECT_EQ(header.length, 5u);
  }
}

TEST(TransmissionTest, AMagicNumberOfTheOtherStyleIsWrong) {
  const std::string narrow = Begin(kRequestMagic).Number(uint64_t{5}).text();
  const std::string wide =
      Begin(kExtendedRequestMagic).Number(uint64_t{5}).text();
  RequestHeader header;
  EXPECT_FALSE(DecodeRequest(Style::kExtended, narrow.data(), &header));
  EXPECT_FALSE(DecodeRequest(Style::kStructured, wide.data(), &header));
}

}  // namespace
}  // namespace ramvol::nbd
