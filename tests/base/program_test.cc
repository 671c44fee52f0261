#include "base/program.h"

#include <malloc.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

ABSL_FLAG(std::string, test_flag, "unset", "A flag of this test.");

namespace ramvol {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::ExitedWithCode;
using ::testing::HasSubstr;

// Exit codes of a child that ParseFlags did not end itself.
constexpr int kTaken = 42;
constexpr int kRefused = 43;

class ProgramTest : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  // Parses the words, prints the flag, and ends the process. Call it in death
  // tests only: a process can parse its flags once.
  [[noreturn]] void Parse(std::vector<std::string> words) {
    words.insert(words.begin(), "prog");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    const bool taken =
        program_.ParseFlags(static_cast<int>(argv.size()), argv.data());
    std::cerr << "test_flag=" << absl::GetFlag(FLAGS_test_flag) << std::endl;
    _exit(taken ? kTaken : kRefused);
  }

  Program program_{"prog", "Serves nothing.", "base/program_test.cc"};
};

TEST_F(ProgramTest, TakesFlagsWithUnderscoresOrDashes) {
  EXPECT_EXIT(Parse({"--test_flag=one"}), ExitedWithCode(kTaken),
              "test_flag=one");
  EXPECT_EXIT(Parse({"--test-flag=two"}), ExitedWithCode(kTaken),
              "test_flag=two");
  EXPECT_EXIT(Parse({"--test-flag", "three"}), ExitedWithCode(kTaken),
              "test_flag=three");
}

TEST_F(ProgramTest, LeavesDashesInValuesAlone) {
  EXPECT_EXIT(Parse({"--test-flag=a-b"}), ExitedWithCode(kTaken),
              "test_flag=a-b");
}

TEST_F(ProgramTest, RefusesWhatIsNoFlag) {
  EXPECT_EXIT(Parse({"--test_flag=one", "extra"}), ExitedWithCode(kRefused),
              "unknown argument \"extra\"");
  EXPECT_EXIT(Parse({"--", "--test-flag=one"}), ExitedWithCode(kRefused),
              "unknown argument \"--test-flag=one\"");
}

TEST_F(ProgramTest, AnUnknownFlagEndsTheProcess) {
  EXPECT_EXIT(Parse({"--no-such-flag=1"}), ExitedWithCode(EXIT_FAILURE),
              "no_such_flag");
}

// Abseil's own exit code for --help is 1, but scripts expect 0.
TEST_F(ProgramTest, HelpAndVersionSucceed) {
  EXPECT_EXIT(Parse({"--help"}), ExitedWithCode(EXIT_SUCCESS), "");
  EXPECT_EXIT(Parse({"--version"}), ExitedWithCode(EXIT_SUCCESS), "");
}

TEST_F(ProgramTest, SetsTheLogOrNamesTheFlag) {
  EXPECT_THAT(program_.SetLog("text", "error"), IsOk());
  EXPECT_THAT(
      program_.SetLog("xml", "error"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--log_format")));
  EXPECT_THAT(
      program_.SetLog("json", "loud"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--log_level")));
}

TEST_F(ProgramTest, LogsAndCountsAFailure) {
  const auto fail = [this] {
    std::exit(program_.Fail(absl::UnavailableError("no place to listen")));
  };
  EXPECT_EXIT(fail(), ExitedWithCode(EXIT_FAILURE),
              "prog: error failed: no place to listen");
}

// A buffer with a mapping of its own would be faulted in anew for each request.
TEST_F(ProgramTest, MallocReusesBuffersOfTwoMebibytes) {
  const auto allocate = [this] {
    program_.Prepare();
    const size_t mapped = mallinfo2().hblks;
    const auto buffer = std::make_unique<char[]>(size_t{2} << 20);
    std::cerr << "own mappings: " << mallinfo2().hblks - mapped << std::endl;
    _exit(EXIT_SUCCESS);
  };
  EXPECT_EXIT(allocate(), ExitedWithCode(EXIT_SUCCESS), "own mappings: 0");
}

TEST(CheckTimeoutFlagTest, TakesZeroToADay) {
  EXPECT_THAT(CheckTimeoutFlag("t", absl::ZeroDuration()), IsOk());
  EXPECT_THAT(CheckTimeoutFlag("t", absl::Hours(24)), IsOk());
  EXPECT_THAT(CheckTimeoutFlag("drain_timeout", -absl::Seconds(1)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--drain_timeout is -1s; give 0 to 24h"));
  EXPECT_THAT(CheckTimeoutFlag("t", absl::Hours(25)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("25h")));
}

}  // namespace
}  // namespace ramvol
