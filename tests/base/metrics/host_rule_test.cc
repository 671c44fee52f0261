#include "base/metrics/host_rule.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::metrics {
namespace {

using ::ramvol::testing::IsOk;
using ::testing::HasSubstr;

std::string WhyNot(const std::string& names) {
  return std::string(HostRule::Parse(names).status().message());
}

TEST(HostRuleTest, AddressesAndLocalhostAreAlwaysAllowed) {
  const HostRule rule;
  for (const char* host :
       {"127.0.0.1", "127.0.0.1:7421", "10.0.0.7:80", "[::1]", "[::1]:7421",
        "[2001:db8::7]:7421", "localhost", "localhost:7421", "LocalHost:7421",
        "localhost.", "localhost.:7421", "ramvol.localhost", ""}) {
    EXPECT_TRUE(rule.Allows(host)) << host;
  }
}

TEST(HostRuleTest, OtherNamesAreNot) {
  const HostRule rule;
  for (const char* host : {"evil.example",
                           "evil.example:7421",
                           "127.0.0.1.evil.example",
                           "localhost.evil.example",
                           "evillocalhost",
                           "ramvol",
                           "0x7f000001",
                           "2130706433",
                           "127.1",
                           "::1",
                           "[::1",
                           "::1]",
                           "[]",
                           "[127.0.0.1]",
                           "[::1]x",
                           "[::1]evil.example",
                           "127.0.0.1:evil",
                           "localhost:x",
                           ".",
                           ":",
                           ":7421",
                           "localhost..",
                           "local host",
                           "evil.example#127.0.0.1",
                           "user@localhost"}) {
    EXPECT_FALSE(rule.Allows(host)) << host;
  }
  EXPECT_FALSE(rule.Allows(std::string("localhost\0.evil", 15)));
  EXPECT_FALSE(rule.Allows(std::string("127.0.0.1\0.evil", 15)));
}

TEST(HostRuleTest, GivenNamesAreAllowed) {
  const auto rule = HostRule::Parse("Ramvol.example,.farm.example,buildbox");
  ASSERT_THAT(rule, IsOk());
  for (const char* host :
       {"ramvol.example", "RAMVOL.EXAMPLE:80", "ramvol.example.",
        "a.farm.example", "b.a.farm.example:7421", "buildbox:7421",
        "127.0.0.1"}) {
    EXPECT_TRUE(rule->Allows(host)) << host;
  }
  for (const char* host : {"x.ramvol.example", "example", "farm.example",
                           "evilfarm.example", "buildbox.evil.example"}) {
    EXPECT_FALSE(rule->Allows(host)) << host;
  }
}

TEST(HostRuleTest, WhatIsNoNameIsNamed) {
  for (const char* names : {"a.example:80", "http://a.example", "a,,b", "*",
                            ".", "a..b", "a.", "a b"}) {
    EXPECT_THAT(WhyNot(names), HasSubstr("is no host's name")) << names;
  }
  EXPECT_THAT(WhyNot("a.example:80"), HasSubstr("a.example:80 is no"));
  std::string many = "a";
  for (size_t i = 0; i < kMaxHosts; ++i) many += ",a";
  EXPECT_THAT(WhyNot(many), HasSubstr("at most 64"));
}

}  // namespace
}  // namespace ramvol::metrics
