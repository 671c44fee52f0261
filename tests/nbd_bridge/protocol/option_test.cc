#include "nbd_bridge/protocol/option.h"

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nbd_bridge/protocol/wire.h"
#include "tests/support/status_matchers.h"

namespace ramvol::nbd {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

auto IsMalformed(const std::string& what) {
  return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what));
}

WireWriter Named(absl::string_view name) {
  WireWriter writer;
  writer.Number(static_cast<uint32_t>(name.size())).Bytes(name);
  return writer;
}

TEST(OptionTest, AHeaderNeedsItsMagicNumber) {
  std::string bytes = WireWriter()
                          .Number(kOptionMagic)
                          .Number(uint32_t{7})
                          .Number(uint32_t{300})
                          .text();
  OptionHeader header;
  ASSERT_EQ(bytes.size(), kOptionHeaderBytes);
  ASSERT_TRUE(DecodeOptionHeader(bytes.data(), &header));
  EXPECT_EQ(header.option, 7u);
  EXPECT_EQ(header.length, 300u);
  bytes[0] = '\0';
  EXPECT_FALSE(DecodeOptionHeader(bytes.data(), &header));
}

TEST(OptionTest, AnInfoRequestIsANameAndWhatItWants) {
  const std::string data = Named("disk")
                               .Number(uint16_t{2})
                               .Number(static_cast<uint16_t>(Info::kBlockSize))
                               .Number(uint16_t{77})
                               .text();
  const absl::StatusOr<InfoRequest> request = ParseInfoRequest(data);
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->name, "disk");
  EXPECT_TRUE(request->Wants(Info::kBlockSize));
  EXPECT_FALSE(request->Wants(Info::kName));

  for (size_t bytes = 0; bytes < data.size(); ++bytes) {
    EXPECT_THAT(ParseInfoRequest({data.data(), bytes}),
                IsMalformed(bytes < 8 ? "past its end" : "ends before"))
        << bytes;
  }
  EXPECT_THAT(ParseInfoRequest(data + "x"), IsMalformed("follow"));
}

TEST(OptionTest, AStringMayHaveFourKibibytes) {
  const auto parse = [](size_t bytes) {
    return ParseInfoRequest(
        Named(std::string(bytes, 'n')).Number(uint16_t{0}).text());
  };
  EXPECT_THAT(parse(4096), IsOk());
  EXPECT_THAT(parse(4097), IsMalformed("4097 bytes"));
}

TEST(OptionTest, ALengthPastTheEndTakesNoMemory) {
  const std::string data =
      WireWriter().Number(uint32_t{0xffffffff}).Bytes("disk").text();
  EXPECT_THAT(ParseInfoRequest(data), IsMalformed("past its end"));
  EXPECT_THAT(ParseMetaContextRequest(data), IsMalformed("past its end"));
}

TEST(OptionTest, AMetaContextRequestIsANameAndQueries) {
  const std::string data = Named("disk")
                               .Number(uint32_t{2})
                               .Bytes(Named("base:allocation").text())
                               .Bytes(Named("").text())
                               .text();
  const auto request = ParseMetaContextRequest(data);
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->name, "disk");
  EXPECT_THAT(request->queries, ElementsAre("base:allocation", ""));
  EXPECT_THAT(ParseMetaContextRequest({data.data(), data.size() - 1}),
              IsMalformed("query"));
  EXPECT_THAT(ParseMetaContextRequest(data + "x"), IsMalformed("follow"));
}

TEST(OptionTest, CountsThatAreNotThereAreMalformed) {
  EXPECT_THAT(ParseMetaContextRequest(
                  Named("disk").Number(uint32_t{0xffffffff}).text()),
              IsMalformed("query"));
  EXPECT_THAT(ParseInfoRequest(Named("disk").Number(uint16_t{0xffff}).text()),
              IsMalformed("65535"));
}

TEST(OptionTest, AnOptionReplyCarriesItsLength) {
  const std::string reply = EncodeOptionReply(6, OptionReply::kInfo, "abc");
  WireReader reader(reply);
  uint64_t magic = 0;
  uint32_t option = 0;
  uint32_t type = 0;
  uint32_t length = 0;
  absl::string_view data;
  ASSERT_TRUE(reader.Number(&magic) && reader.Number(&option) &&
              reader.Number(&type) && reader.Number(&length) &&
              reader.Bytes(length, &data));
  EXPECT_EQ(magic, kOptionReplyMagic);
  EXPECT_EQ(option, 6u);
  EXPECT_EQ(type, static_cast<uint32_t>(OptionReply::kInfo));
  EXPECT_EQ(data, "abc");
  EXPECT_TRUE(reader.empty());
}

TEST(OptionTest, ExportNameIsPaddedForOldClientsOnly) {
  EXPECT_EQ(EncodeExportName(1 << 20, kHasFlags, /*no_zeroes=*/true).size(),
            8u + 2);
  EXPECT_EQ(EncodeExportName(1 << 20, kHasFlags, /*no_zeroes=*/false).size(),
            8u + 2 + 124);
}

}  // namespace
}  // namespace ramvol::nbd
