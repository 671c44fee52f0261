#include "server/access/glob.h"

#include <string>

#include "gtest/gtest.h"

namespace ramvol::access {
namespace {

TEST(GlobTest, Fits) {
  const struct {
    const char* pattern;
    const char* text;
  } kFit[] = {{"", ""},          {"*", ""},          {"*", "disk"},
              {"disk", "disk"},  {"d?sk", "disk"},   {"vm-*", "vm-"},
              {"vm-*", "vm-12"}, {"*-old", "a-old"}, {"a*b*c", "aXbYbZc"},
              {"**", "x"},       {"?*", "x"},        {"*a", "aaa"},
              {"@*", "@gold"}};
  for (const auto& one : kFit) {
    EXPECT_TRUE(Fits(one.pattern, one.text)) << one.pattern << " " << one.text;
  }
}

TEST(GlobTest, DoesNotFit) {
  const struct {
    const char* pattern;
    const char* text;
  } kMiss[] = {{"", "a"},         {"a", ""},       {"disk", "disk1"},
               {"disk", "Disk"},  {"?", ""},       {"vm-*", "vm"},
               {"*-old", "a-ol"}, {"a*b", "acbd"}, {"[a]", "a"},
               {"@*", "gold"}};
  for (const auto& one : kMiss) {
    EXPECT_FALSE(Fits(one.pattern, one.text)) << one.pattern << " " << one.text;
  }
}

// A recursive matcher would take longer than the universe has time for.
TEST(GlobTest, CostIsBounded) {
  std::string pattern;
  for (int i = 0; i < 100; ++i) pattern += "*a";
  pattern += "b";
  EXPECT_FALSE(Fits(pattern, std::string(10'000, 'a')));
}

}  // namespace
}  // namespace ramvol::access
