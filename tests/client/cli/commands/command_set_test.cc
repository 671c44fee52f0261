#include "client/cli/commands/command_set.h"

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cli/cli_context.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::cli {
namespace {

using ::testing::HasSubstr;

class CommandSetTest : public ::testing::Test {
 protected:
  CommandSetTest() : context_(Context()) {}

  CliContext Context() const {
    CliContext context;
    context.interrupted = &interrupted_;
    return context;
  }

  // Parses the words. Returns what is wrong with them, or "".
  std::string Parse(const std::string& words) {
    try {
      app_.parse(words, /*program_name_included=*/false);
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
    return "";
  }

  const std::atomic<bool> interrupted_ = false;
  const CliContext context_;
  Invocation invocation_{context_};
  CLI::App app_;
  CommandSet commands_{app_, invocation_};
};

TEST_F(CommandSetTest, RunsTheCommandThatWasUsed) {
  int ran = 0;
  commands_.Add("one", "", [&ran] {
    ran = 1;
    return absl::OkStatus();
  });
  commands_.Add("two", "", [&ran] {
    ran = 2;
    return absl::AbortedError("two failed");
  });
  EXPECT_TRUE(IsUsageError(commands_.RunUsed()));
  EXPECT_EQ(Parse("two"), "");
  EXPECT_EQ(ran, 0) << "parsing runs nothing";
  EXPECT_EQ(commands_.used(), "two");
  EXPECT_EQ(commands_.RunUsed(), absl::AbortedError("two failed"));
  EXPECT_EQ(ran, 2);
}

TEST_F(CommandSetTest, SizesHaveUnits) {
  int64_t size = 0;
  std::optional<int64_t> limit;
  AddSize(&app_, "--size", &size, "");
  AddSize(&app_, "--limit", &limit, "");
  EXPECT_EQ(Parse("--size 4K"), "");
  EXPECT_EQ(size, 4096);
  EXPECT_EQ(limit, std::nullopt);
  EXPECT_EQ(Parse("--limit 0"), "");
  EXPECT_EQ(limit, 0);
  EXPECT_THAT(Parse("--size 4X"), HasSubstr("--size"));
  EXPECT_THAT(Parse("--size -1"), HasSubstr("--size"));
}

TEST_F(CommandSetTest, TimesHaveUnitsOrAreSeconds) {
  absl::Duration timeout;
  std::optional<absl::Duration> interval;
  AddTime(&app_, "--timeout", &timeout, "");
  AddTime(&app_, "--interval", &interval, "");
  for (const auto& [text, time] :
       {std::pair{"500ms", absl::Milliseconds(500)},
        std::pair{"1m30s", absl::Seconds(90)}, std::pair{"2", absl::Seconds(2)},
        std::pair{"0.5", absl::Milliseconds(500)}}) {
    EXPECT_EQ(Parse(std::string("--timeout ") + text), "") << text;
    EXPECT_EQ(timeout, time) << text;
  }
  EXPECT_EQ(interval, std::nullopt);
  for (const char* text : {"0", "0s", "-1", "-1s", "soon", "1x"}) {
    EXPECT_THAT(Parse(std::string("--interval=") + text),
                HasSubstr("is not a time"))
        << text;
  }
  EXPECT_EQ(interval, std::nullopt);
}

TEST_F(CommandSetTest, NumbersAreWhole) {
  std::optional<int> level;
  AddInt(&app_, "--level", &level, "");
  EXPECT_EQ(Parse("--level=-50"), "");
  EXPECT_EQ(level, -50);
  for (const char* text : {"1.5", "x", "1e3", "99999999999"}) {
    EXPECT_THAT(Parse(std::string("--level=") + text),
                HasSubstr("no whole number"))
        << text;
  }
}

TEST_F(CommandSetTest, WordsAreTakenInEitherCase) {
  std::string word;
  Restrict(app_.add_option("--sort", word, ""), {"name", "size"});
  EXPECT_EQ(Parse("--sort Size"), "");
  EXPECT_EQ(word, "Size");
  EXPECT_THAT(Parse("--sort colour"),
              HasSubstr("\"colour\" is none of name, size"));
}

TEST_F(CommandSetTest, LabelsAreSplitAtTheFirstEqualsSign) {
  std::vector<Label> labels;
  std::string name;
  app_.add_option("NAME", name, "");
  AddLabels(&app_, &labels, "");
  EXPECT_EQ(Parse("--label a=b=c --label empty= disk"), "");
  ASSERT_EQ(labels.size(), 2u);
  EXPECT_EQ(labels[0].key, "a");
  EXPECT_EQ(labels[0].value, "b=c");
  EXPECT_EQ(labels[1].key, "empty");
  EXPECT_EQ(labels[1].value, "");
  EXPECT_EQ(name, "disk") << "a label takes one word only";
  EXPECT_THAT(Parse("--label plain"), HasSubstr("is not KEY=VALUE"));
}

TEST_F(CommandSetTest, AVolumesNameIsRequired) {
  std::string name;
  AddVolumeName(commands_.Add("show", "", [] { return absl::OkStatus(); }),
                &name);
  EXPECT_THAT(Parse("show"), HasSubstr("NAME"));
  EXPECT_EQ(Parse("show disk"), "");
  EXPECT_EQ(name, "disk");
}

}  // namespace
}  // namespace ramvol::cli
