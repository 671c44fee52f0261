#include "nbd_bridge/reply.h"

#include <sys/uio.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "nbd_bridge/protocol/wire.h"
#include "nbd_bridge/request.h"

namespace ramvol::nbd {
namespace {

constexpr uint64_t kCookie = 0x1122334455667788;

// A reply as the client receives it: big-endian fields from front to back.
class Received {
 public:
  explicit Received(const Request& request) {
    for (const iovec& part : request.parts) {
      bytes_.append(static_cast<const char*>(part.iov_base), part.iov_len);
    }
  }
  template <typename T>
  T Take() {
    EXPECT_GE(bytes_.size() - at_, sizeof(T));
    const T value = Get<T>(bytes_.data() + at_);
    at_ += sizeof(T);
    return value;
  }
  std::string TakeBytes(size_t count) {
    at_ += count;
    return bytes_.substr(at_ - count, count);
  }
  size_t left() const { return bytes_.size() - at_; }

  // A chunk of a structured or extended reply; returns its payload's length.
  uint64_t TakeChunk(bool extended, ReplyType type, bool last) {
    EXPECT_EQ(Take<uint32_t>(),
              extended ? kExtendedReplyMagic : kStructuredReplyMagic);
    EXPECT_EQ(Take<uint16_t>(), last ? kReplyDone : 0);
    EXPECT_EQ(Take<uint16_t>(), static_cast<uint16_t>(type));
    EXPECT_EQ(Take<uint64_t>(), kCookie);
    if (!extended) return Take<uint32_t>();
    offset_ = Take<uint64_t>();
    return Take<uint64_t>();
  }
  // Of the last extended header.
  uint64_t offset() const { return offset_; }

 private:
  std::string bytes_;
  size_t at_ = 0;
  uint64_t offset_ = 0;
};

class ReplyTest : public ::testing::Test, public RequestOwner {
 protected:
  uint64_t size_bytes() const override { return 0; }
  void Finish(Request*, const absl::Status&) override {}

  void Ask(Command command, uint64_t offset, uint64_t length) {
    request_.header.command = static_cast<uint16_t>(command);
    request_.header.cookie = kCookie;
    request_.header.offset = offset;
    request_.header.length = length;
  }
  // A finished read of `data` at `offset`.
  void Read(uint64_t offset, std::string_view data) {
    Ask(Command::kRead, offset, data.size());
    request_.buffer.reset(new char[data.size()]);
    std::memcpy(request_.buffer.get(), data.data(), data.size());
  }
  Received Build(Style style) {
    BuildReply(style, request_);
    return Received(request_);
  }

  Request request_{this};
};

TEST_F(ReplyTest, ASimpleReadIsAHeaderAndAllData) {
  Read(0, std::string(8192, '\0'));
  Received reply = Build(Style::kSimple);
  EXPECT_EQ(reply.Take<uint32_t>(), kSimpleReplyMagic);
  EXPECT_EQ(reply.Take<uint32_t>(), 0u);
  EXPECT_EQ(reply.Take<uint64_t>(), kCookie);
  EXPECT_EQ(reply.left(), 8192u);
}

TEST_F(ReplyTest, ARunOfZeroesIsAHoleFromOneBlockBoundaryToAnother) {
  // Blocks begin at 4096 and 8192; the zeroes reach from 4000 to 9000.
  std::string data(6000, 'x');
  data.replace(1000, 5000, 5000, '\0');
  Read(3000, data);
  Received reply = Build(Style::kStructured);
  ASSERT_EQ(reply.TakeChunk(false, ReplyType::kOffsetData, false), 8u + 1096);
  EXPECT_EQ(reply.Take<uint64_t>(), 3000u);
  EXPECT_EQ(reply.TakeBytes(1096), std::string(1000, 'x') + std::string(96, 0));
  // The last part of a block is looked at by itself.
  ASSERT_EQ(reply.TakeChunk(false, ReplyType::kOffsetHole, true), 12u);
  EXPECT_EQ(reply.Take<uint64_t>(), 4096u);
  EXPECT_EQ(reply.Take<uint32_t>(), 4904u);
  EXPECT_EQ(reply.left(), 0u);
}

TEST_F(ReplyTest, ChunksOfOneReadFollowEachOtherAndOnlyTheLastIsDone) {
  const std::string block(4096, 'x');
  const std::string zeroes(4096, '\0');
  Read(0, block + zeroes + block);
  Received reply = Build(Style::kExtended);
  ASSERT_EQ(reply.TakeChunk(true, ReplyType::kOffsetData, false), 8u + 4096);
  EXPECT_EQ(reply.offset(), 0u);
  EXPECT_EQ(reply.Take<uint64_t>(), 0u);
  EXPECT_EQ(reply.TakeBytes(4096), block);
  ASSERT_EQ(reply.TakeChunk(true, ReplyType::kOffsetHole, false), 12u);
  EXPECT_EQ(reply.Take<uint64_t>(), 4096u);
  EXPECT_EQ(reply.Take<uint32_t>(), 4096u);
  ASSERT_EQ(reply.TakeChunk(true, ReplyType::kOffsetData, true), 8u + 4096);
  EXPECT_EQ(reply.Take<uint64_t>(), 8192u);
  EXPECT_EQ(reply.TakeBytes(4096), block);
  EXPECT_EQ(reply.left(), 0u);
}

TEST_F(ReplyTest, AClientThatAsksForOneChunkGetsNoHoles) {
  Read(4096, std::string(16384, '\0'));
  request_.header.flags = kCmdDf;
  Received reply = Build(Style::kStructured);
  ASSERT_EQ(reply.TakeChunk(false, ReplyType::kOffsetData, true), 8u + 16384);
  EXPECT_EQ(reply.Take<uint64_t>(), 4096u);
  EXPECT_EQ(reply.left(), 16384u);
}

TEST_F(ReplyTest, AHoleThatWasNotReadHasNoBuffer) {
  Ask(Command::kRead, 65536, 32 << 20);
  request_.all_hole = true;
  Received reply = Build(Style::kStructured);
  ASSERT_EQ(reply.TakeChunk(false, ReplyType::kOffsetHole, true), 12u);
  EXPECT_EQ(reply.Take<uint64_t>(), 65536u);
  EXPECT_EQ(reply.Take<uint32_t>(), uint32_t{32} << 20);
  EXPECT_EQ(reply.left(), 0u);
}

TEST_F(ReplyTest, ALongReadHasAboutSixtyFourChunksAtMost) {
  std::string data;
  for (int block = 0; block < 1024; ++block) {
    data += std::string(4096, block % 2 == 0 ? 'x' : '\0');
  }
  Read(0, data);
  Received reply = Build(Style::kStructured);
  ASSERT_EQ(reply.TakeChunk(false, ReplyType::kOffsetData, true),
            8u + data.size())
      << "holes that are shorter than a 64th of the read are sent";
}

TEST_F(ReplyTest, BlockStatusHasAChunkForEachContext) {
  Ask(Command::kBlockStatus, 0, 12288);
  const MetaContext contexts[] = {{.id = 1, .snapshot = ""},
                                  {.id = 2, .snapshot = "monday"}};
  request_.statuses = {{&contexts[0], {{.offset = 0, .length = 12288}}},
                       {&contexts[1],
                        {{.offset = 0, .length = 4096},
                         {.offset = 4096, .length = 8192, .changed = true}}}};
  Received reply = Build(Style::kStructured);
  ASSERT_EQ(reply.TakeChunk(false, ReplyType::kBlockStatus, false), 4u + 8);
  EXPECT_EQ(reply.Take<uint32_t>(), 1u) << "the context's id";
  EXPECT_EQ(reply.Take<uint32_t>(), 12288u);
  EXPECT_EQ(reply.Take<uint32_t>(), 0u);
  ASSERT_EQ(reply.TakeChunk(false, ReplyType::kBlockStatus, true), 4u + 2 * 8);
  EXPECT_EQ(reply.Take<uint32_t>(), 2u);
  EXPECT_EQ(reply.Take<uint32_t>(), 4096u);
  EXPECT_EQ(reply.Take<uint32_t>(), 0u);
  EXPECT_EQ(reply.Take<uint32_t>(), 8192u);
  EXPECT_EQ(reply.Take<uint32_t>(), kStateDirty);
  EXPECT_EQ(reply.left(), 0u);
}

TEST_F(ReplyTest, BlockStatusHasWideFieldsOnlyWithExtendedHeaders) {
  Ask(Command::kBlockStatus, 0, 12288);
  const MetaContext allocation{.id = 1, .snapshot = ""};
  request_.statuses = {{&allocation, {{0, 4096, false}, {4096, 8192, true}}}};
  Received narrow = Build(Style::kStructured);
  ASSERT_EQ(narrow.TakeChunk(false, ReplyType::kBlockStatus, true), 4u + 2 * 8);
  EXPECT_EQ(narrow.Take<uint32_t>(), 1u) << "the context's id";
  EXPECT_EQ(narrow.Take<uint32_t>(), 4096u);
  EXPECT_EQ(narrow.Take<uint32_t>(), 0u);
  EXPECT_EQ(narrow.Take<uint32_t>(), 8192u);
  EXPECT_EQ(narrow.Take<uint32_t>(), kStateHole | kStateZero);
  EXPECT_EQ(narrow.left(), 0u);

  request_.parts.clear();
  Received wide = Build(Style::kExtended);
  ASSERT_EQ(wide.TakeChunk(true, ReplyType::kBlockStatusExt, true),
            8u + 2 * 16);
  EXPECT_EQ(wide.Take<uint32_t>(), 1u);
  EXPECT_EQ(wide.Take<uint32_t>(), 2u) << "the number of extents";
  EXPECT_EQ(wide.Take<uint64_t>(), 4096u);
  EXPECT_EQ(wide.Take<uint64_t>(), 0u);
  EXPECT_EQ(wide.Take<uint64_t>(), 8192u);
  EXPECT_EQ(wide.Take<uint64_t>(), uint64_t{kStateHole | kStateZero});
  EXPECT_EQ(wide.left(), 0u);
}

TEST_F(ReplyTest, AnErrorCarriesItsMessageUpToTheLongestString) {
  Read(0, std::string(4096, 'x'));
  request_.error = Error::kIo;
  request_.message = std::string(5000, 'm');
  Received reply = Build(Style::kStructured);
  ASSERT_EQ(reply.TakeChunk(false, ReplyType::kError, true), 6u + 4096);
  EXPECT_EQ(reply.Take<uint32_t>(), static_cast<uint32_t>(Error::kIo));
  EXPECT_EQ(reply.Take<uint16_t>(), 4096u);
  EXPECT_EQ(reply.TakeBytes(4096), std::string(4096, 'm'));
  EXPECT_EQ(reply.left(), 0u) << "a failed read sends no data";
}

TEST_F(ReplyTest, ASimpleErrorIsOnlyAHeader) {
  Read(0, std::string(4096, 'x'));
  request_.error = Error::kNoSpace;
  request_.message = "no room";
  Received reply = Build(Style::kSimple);
  EXPECT_EQ(reply.Take<uint32_t>(), kSimpleReplyMagic);
  EXPECT_EQ(reply.Take<uint32_t>(), static_cast<uint32_t>(Error::kNoSpace));
  EXPECT_EQ(reply.Take<uint64_t>(), kCookie);
  EXPECT_EQ(reply.left(), 0u);
}

}  // namespace
}  // namespace ramvol::nbd
