#include "server/engine/volume/description.h"

#include <optional>
#include <string>

#include "gtest/gtest.h"

namespace ramvol::engine {
namespace {

Description Example() {
  Description description;
  description.uid = 0x123456789abcdef;
  description.attributes = std::string("any\0bytes", 9);
  description.options.name = "@disk";
  description.options.allocator = Allocator::kSparse;
  description.options.min_frame_bytes = 8192;
  description.options.max_frame_bytes = 32768;
  description.options.write_level = -5;
  description.options.merge_level = 12;
  description.options.memory_limit_bytes = uint64_t{3} << 40;
  description.options.read_only = true;
  return description;
}

TEST(DescriptionTest, ParsesWhatWasFormatted) {
  const Description wanted = Example();
  const std::optional<Description> parsed = ParseDescription(Format(wanted));
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->uid, wanted.uid);
  EXPECT_EQ(parsed->attributes, wanted.attributes);
  EXPECT_EQ(parsed->options.name, "@disk");
  EXPECT_EQ(parsed->options.allocator, Allocator::kSparse);
  EXPECT_EQ(parsed->options.min_frame_bytes, 8192u);
  EXPECT_EQ(parsed->options.max_frame_bytes, 32768u);
  EXPECT_EQ(parsed->options.write_level, -5);
  EXPECT_EQ(parsed->options.merge_level, 12);
  EXPECT_EQ(parsed->options.memory_limit_bytes, uint64_t{3} << 40);
  EXPECT_TRUE(parsed->options.read_only);
}

TEST(DescriptionTest, OtherLengthsAreRefused) {
  const std::string text = Format(Example());
  for (size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(ParseDescription(text.substr(0, length)).has_value())
        << length;
  }
  EXPECT_FALSE(ParseDescription(text + "x").has_value());
}

TEST(DescriptionTest, FlippedBitsDoNoHarm) {
  const std::string text = Format(Example());
  for (size_t bit = 0; bit < 8 * text.size(); ++bit) {
    std::string flipped = text;
    flipped[bit / 8] ^= static_cast<char>(1 << bit % 8);
    ParseDescription(flipped);
  }
}

}  // namespace
}  // namespace ramvol::engine
