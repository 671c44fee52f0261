#include "server/engine/content/packer.h"

#include <cstring>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/content/frame.h"
#include "server/engine/memory/account.h"
#include "server/engine/memory/arena.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(PackerTest, ARunThatIsMostlyThereIsOneGroup) {
  EXPECT_THAT(Partition(kAllBlocks, 1, 16), ElementsAre(kAllBlocks));
  EXPECT_THAT(Partition(kAllBlocks, 1, 4),
              ElementsAre(0x000f, 0x00f0, 0x0f00, 0xf000));
  EXPECT_THAT(Partition(0xf7bd, 1, 16), ElementsAre(0xf7bd));
}

TEST(PackerTest, SparseRunsAreCutDownToTheSmallestSpan) {
  EXPECT_THAT(Partition(0, 1, 16), IsEmpty());
  EXPECT_THAT(Partition(0x8001, 1, 16), ElementsAre(0x0001, 0x8000));
  EXPECT_THAT(Partition(0x0009, 4, 16), ElementsAre(0x0009));
  EXPECT_THAT(Partition(0x0109, 4, 16), ElementsAre(0x0009, 0x0100));
}

TEST(PackerTest, GathersWhatIsNotOneRun) {
  std::string chunk(kChunkBytes, '\0');
  for (size_t i = 0; i < chunk.size(); ++i) chunk[i] = 'a' + i / kBlockBytes;
  const char* second = chunk.data() + kBlockBytes;
  EXPECT_EQ(Gather(0x0006, second), second) << "neighbours are not copied";
  const char* gathered = Gather(0x8012, second);
  EXPECT_EQ(std::string(gathered, 3 * kBlockBytes),
            std::string(kBlockBytes, 'b') + std::string(kBlockBytes, 'e') +
                std::string(kBlockBytes, 'p'));
}

TEST(PackerTest, MakesAFrameOfWhatCompressesAndNoneOfWhatDoesNot) {
  const auto arena = *Arena::Create(16 << 20);
  Account account(*arena, 0);
  DurationHistogram durations;
  PackCost cost(durations);
  std::string content(4 * kBlockBytes, 'x');
  Frame* frame = nullptr;
  ASSERT_TRUE(PackGroup(account, Priority::kNormal, 0x0f00, content.data(), 1,
                        &frame, &cost));
  ASSERT_NE(frame, nullptr);
  EXPECT_EQ(frame->blocks, 0x0f00);
  std::string back(content.size(), '\0');
  EXPECT_TRUE(ReadFrame(*arena, *frame, absl::MakeSpan(back)));
  EXPECT_EQ(back, content);
  ReleaseFrame(account, frame);

  uint32_t noise = 1;
  for (char& c : content)
    c = static_cast<char>((noise = noise * 747796405 + 1) >> 24);
  ASSERT_TRUE(PackGroup(account, Priority::kNormal, 0x000f, content.data(), 1,
                        &frame, &cost));
  EXPECT_EQ(frame, nullptr);
  EXPECT_EQ(cost.compressions, 2);
  EXPECT_EQ(account.used_bytes(), 0u);
}

TEST(PackerTest, TellsThatMemoryIsShort) {
  const auto arena = *Arena::Create(16 << 20);
  Account account(*arena, 0);
  DurationHistogram durations;
  PackCost cost(durations);
  const std::string content(kBlockBytes, 'x');
  Frame* frame = nullptr;
  arena->FailAllocationsAfterForTest(0);
  EXPECT_FALSE(PackGroup(account, Priority::kNormal, 1, content.data(), 1,
                         &frame, &cost));
  EXPECT_EQ(frame, nullptr);
}

}  // namespace
}  // namespace ramvol::engine
