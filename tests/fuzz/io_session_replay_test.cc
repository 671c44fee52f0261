// Runs the fuzzer's corpus, so that what was found once stays found.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "gtest/gtest.h"
#include "tests/fuzz/io_session_driver.h"

namespace ramvol::testing {
namespace {

TEST(IoSessionReplayTest, CorpusHolds) {
  int inputs = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator("tests/fuzz/corpus/io_session")) {
    SCOPED_TRACE(entry.path());
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string input{std::istreambuf_iterator<char>(file), {}};
    FuzzIoSession(reinterpret_cast<const uint8_t*>(input.data()), input.size());
    ++inputs;
  }
  EXPECT_GE(inputs, 8);
}

TEST(IoSessionReplayTest, EmptyInputHolds) { FuzzIoSession(nullptr, 0); }

}  // namespace
}  // namespace ramvol::testing
