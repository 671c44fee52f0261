#include "nbd_bridge/validation.h"

#include <cstdint>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::nbd {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kSize = 1 << 20;

class ValidationTest : public ::testing::Test {
 protected:
  static RequestHeader Make(Command command, uint64_t offset, uint64_t length,
                            uint16_t flags = 0) {
    RequestHeader header;
    header.command = static_cast<uint16_t>(command);
    header.flags = flags;
    header.offset = offset;
    header.length = length;
    return header;
  }
  Error ErrorOf(const RequestHeader& header) const {
    return Validate(traits_, header).error;
  }

  SessionTraits traits_{Style::kStructured, kSize, /*read_only=*/false,
                        /*contexts=*/1};
};

TEST_F(ValidationTest, ARangeMayEndAtTheVolumesEndButNotPastIt) {
  EXPECT_EQ(ErrorOf(Make(Command::kRead, kSize - 1, 1)), Error::kNone);
  EXPECT_EQ(ErrorOf(Make(Command::kRead, kSize - 1, 2)), Error::kInval);
  EXPECT_EQ(ErrorOf(Make(Command::kRead, kSize, 1)), Error::kInval);
  EXPECT_EQ(ErrorOf(Make(Command::kWrite, kSize - 1, 2)), Error::kNoSpace);
  EXPECT_EQ(ErrorOf(Make(Command::kWriteZeroes, kSize, 1)), Error::kNoSpace);
  EXPECT_EQ(ErrorOf(Make(Command::kTrim, kSize, 1)), Error::kInval);
}

TEST_F(ValidationTest, ARangeThatWouldWrapAroundIsPastTheEnd) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  EXPECT_EQ(ErrorOf(Make(Command::kTrim, kMax, 2)), Error::kInval);
  EXPECT_EQ(ErrorOf(Make(Command::kTrim, 2, kMax)), Error::kInval);
}

TEST_F(ValidationTest, AnEmptyRangeIsRefused) {
  for (const Command command : {Command::kRead, Command::kWrite, Command::kTrim,
                                Command::kCache, Command::kBlockStatus}) {
    EXPECT_EQ(ErrorOf(Make(command, 0, 0)), Error::kInval);
  }
  EXPECT_EQ(ErrorOf(Make(Command::kFlush, 0, 0)), Error::kNone);
  EXPECT_EQ(ErrorOf(Make(Command::kFlush, 0, 1)), Error::kInval);
}

TEST_F(ValidationTest, OnlyCommandsWithDataAreBoundedByThePayload) {
  traits_.size_bytes = uint64_t{1} << 40;
  const uint64_t longest = kMaxPayloadBytes;
  EXPECT_EQ(ErrorOf(Make(Command::kRead, 0, longest)), Error::kNone);
  EXPECT_EQ(ErrorOf(Make(Command::kRead, 0, longest + 1)), Error::kInval);
  EXPECT_EQ(ErrorOf(Make(Command::kCache, 0, longest + 1)), Error::kInval);
  EXPECT_EQ(ErrorOf(Make(Command::kTrim, 0, longest + 1)), Error::kNone);
}

TEST_F(ValidationTest, AReadOnlyExportRefusesChangesBeforeItLooksAtTheRange) {
  traits_.read_only = true;
  EXPECT_EQ(ErrorOf(Make(Command::kWrite, kSize, 1)), Error::kPerm);
  EXPECT_EQ(ErrorOf(Make(Command::kTrim, 0, 1)), Error::kPerm);
  EXPECT_EQ(ErrorOf(Make(Command::kWriteZeroes, 0, 1)), Error::kPerm);
  EXPECT_EQ(ErrorOf(Make(Command::kRead, 0, 1)), Error::kNone);
  EXPECT_EQ(ErrorOf(Make(Command::kFlush, 0, 0)), Error::kNone);
}

TEST_F(ValidationTest, FlagsAreKnownByCommandAndStyle) {
  EXPECT_EQ(ErrorOf(Make(Command::kRead, 0, 1, kCmdDf)), Error::kNone);
  EXPECT_EQ(ErrorOf(Make(Command::kWrite, 0, 1, kCmdDf)), Error::kInval);
  EXPECT_EQ(ErrorOf(Make(Command::kTrim, 0, 1, kCmdFua)), Error::kNone);
  EXPECT_EQ(ErrorOf(Make(Command::kBlockStatus, 0, 1, kCmdReqOne)),
            Error::kNone);
  EXPECT_EQ(ErrorOf(Make(Command::kWrite, 0, 1, kCmdPayloadLen)),
            Error::kInval);
  traits_.style = Style::kExtended;
  EXPECT_EQ(ErrorOf(Make(Command::kWrite, 0, 1, kCmdPayloadLen)), Error::kNone);
  traits_.style = Style::kSimple;
  const Refusal refusal = Validate(traits_, Make(Command::kRead, 0, 1, kCmdDf));
  EXPECT_EQ(refusal.error, Error::kInval);
  EXPECT_THAT(refusal.message, HasSubstr("0x4"));
}

TEST_F(ValidationTest, BlockStatusNeedsAContext) {
  traits_.contexts = 0;
  EXPECT_EQ(ErrorOf(Make(Command::kBlockStatus, 0, 1)), Error::kInval);
}

TEST_F(ValidationTest, AFastZeroHasToCoverAWholeBlock) {
  const auto fast = [this](uint64_t offset, uint64_t length) {
    return ErrorOf(Make(Command::kWriteZeroes, offset, length, kCmdFastZero));
  };
  EXPECT_EQ(fast(4096, 4096), Error::kNone);
  EXPECT_EQ(fast(1, 8191), Error::kNone);
  EXPECT_EQ(fast(1, 8190), Error::kNotSupported);
  EXPECT_EQ(fast(0, 4095), Error::kNotSupported);
  EXPECT_EQ(ErrorOf(Make(Command::kWriteZeroes, 1, 1)), Error::kNone);
}

TEST_F(ValidationTest, AWriteHasItsPayloadAlsoWhereQemuLeavesTheFlagOut) {
  traits_.style = Style::kExtended;
  EXPECT_TRUE(HasPayload(traits_, Make(Command::kWrite, 0, 1)));
  EXPECT_TRUE(HasPayload(traits_, Make(Command::kTrim, 0, 1, kCmdPayloadLen)));
  EXPECT_FALSE(HasPayload(traits_, Make(Command::kRead, 0, 1)));
  traits_.style = Style::kStructured;
  EXPECT_FALSE(HasPayload(traits_, Make(Command::kTrim, 0, 1, kCmdPayloadLen)));
}

TEST_F(ValidationTest, UnknownCommandsAreRefused) {
  RequestHeader header = Make(Command::kBlockStatus, 0, 1);
  ++header.command;
  const Refusal refusal = Validate(traits_, header);
  EXPECT_EQ(refusal.error, Error::kInval);
  EXPECT_THAT(refusal.message, HasSubstr("8"));
}

}  // namespace
}  // namespace ramvol::nbd
