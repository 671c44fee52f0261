// For tests of whole command lines.
#ifndef RAMVOL_TESTS_CLIENT_CLI_COMMAND_LINE_FIXTURE_H_
#define RAMVOL_TESTS_CLIENT_CLI_COMMAND_LINE_FIXTURE_H_

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "tests/client/cli/cli_harness.h"

namespace ramvol::cli {

class CommandLineTest : public ::testing::Test {
 protected:
  // Words apart by spaces.
  CliHarness::Result Run(const std::string& line) {
    std::vector<std::string> words;
    std::string word;
    for (const char c : line + " ") {
      if (c != ' ') {
        word += c;
      } else if (!word.empty()) {
        words.push_back(word);
        word.clear();
      }
    }
    return cli_.Run(words);
  }
  // The line must be refused as wrong usage, and say so.
  std::string UsageErrorOf(const std::string& line) {
    const auto result = Run(line);
    EXPECT_EQ(result.exit_code, 2) << line;
    EXPECT_EQ(result.out, "") << line;
    EXPECT_THAT(result.err, ::testing::StartsWith("ramvol: ")) << line;
    EXPECT_THAT(result.err, ::testing::HasSubstr("(USAGE)")) << line;
    return result.err;
  }

  // The answer as `Message`, which fails for a field that it does not have.
  template <typename Message>
  static Message FromJson(const std::string& json) {
    Message message;
    const auto parsed =
        google::protobuf::util::JsonStringToMessage(json, &message);
    EXPECT_TRUE(parsed.ok()) << parsed << " in " << json;
    return message;
  }

  CliHarness cli_;
};

}  // namespace ramvol::cli

#endif  // RAMVOL_TESTS_CLIENT_CLI_COMMAND_LINE_FIXTURE_H_
