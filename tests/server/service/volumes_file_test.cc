#include "server/service/volumes_file.h"

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::string Path() {
  return std::string(std::getenv("TEST_TMPDIR")) + "/volumes.textproto";
}

absl::StatusOr<std::vector<VolumesFileEntry>> Read(const std::string& text) {
  std::ofstream(Path(), std::ios::binary) << text;
  return ReadVolumesFile(Path());
}

class VolumesFileTest : public ::testing::Test {
 protected:
  absl::Status ReadAndCreate(const std::string& text) {
    auto entries = Read(text);
    return entries.ok() ? CreateVolumes(*entries, &catalog_) : entries.status();
  }

  std::unique_ptr<engine::Engine> engine_ = [] {
    engine::EngineOptions options;
    options.memory_limit_bytes = uint64_t{64} << 20;
    return *engine::Engine::Create(options);
  }();
  Catalog catalog_{engine_.get()};
};

TEST_F(VolumesFileTest, EntriesAreCreatedAsByCreateVolume) {
  EXPECT_THAT(ReadAndCreate(R"(
                # A comment.
                volumes { name: "a" size_bytes: 1073741824
                          labels { key: "team" value: "build" } }
                volumes: { name: 'b', size_bytes: 4097, read_only: true,
                           allocator: ALLOCATOR_SPARSE })"),
              IsOk());
  const auto a = catalog_.Get("a");
  ASSERT_THAT(a, IsOk());
  EXPECT_EQ(a->size_bytes(), int64_t{1} << 30);
  EXPECT_EQ(a->allocator(), v1::ALLOCATOR_ZSTD);
  EXPECT_EQ(a->max_frame_bytes(), 65536);
  EXPECT_EQ(a->labels().at("team"), "build");
  EXPECT_NE(a->uid(), "");
  const auto b = catalog_.Get("b");
  ASSERT_THAT(b, IsOk());
  EXPECT_EQ(b->allocator(), v1::ALLOCATOR_SPARSE);
  EXPECT_TRUE(b->read_only());
}

TEST_F(VolumesFileTest, NoFileAndAnEmptyOneAreNoVolumes) {
  const auto none = ReadVolumesFile("");
  ASSERT_THAT(none, IsOk());
  EXPECT_THAT(*none, IsEmpty());
  for (const char* text : {"", "\n", "# nothing yet\n"}) {
    const auto empty = Read(text);
    ASSERT_THAT(empty, IsOk());
    EXPECT_THAT(*empty, IsEmpty());
  }
}

TEST_F(VolumesFileTest, WhatCannotBeReadIsNamed) {
  EXPECT_THAT(ReadVolumesFile("/nonexistent/v"),
              StatusIs(kInvalid, AllOf(HasSubstr("/nonexistent/v"),
                                       HasSubstr("No such file"))));
  EXPECT_THAT(ReadVolumesFile("/"),
              StatusIs(kInvalid, HasSubstr("Is a directory")));
}

TEST_F(VolumesFileTest, TooLongAFileIsRefused) {
  EXPECT_THAT(Read(std::string(kMaxVolumesFileBytes, '\n')), IsOk());
  EXPECT_THAT(Read(std::string(kMaxVolumesFileBytes + 1, '\n')),
              StatusIs(kInvalid, HasSubstr("more than 67108864 bytes")));
}

TEST_F(VolumesFileTest, SyntaxErrorsNameLineAndColumn) {
  EXPECT_THAT(Read("volumes {\n  name: \"a\"\n  sizebytes: 1\n}\n"),
              StatusIs(kInvalid, AllOf(StartsWith(Path() + ":3:12: "),
                                       HasSubstr("sizebytes"))));
  EXPECT_THAT(Read("volumes {"), StatusIs(kInvalid, HasSubstr(":1:10: ")));
  EXPECT_THAT(Read("volumes { size_bytes: 9223372036854775808 }"),
              StatusIs(kInvalid, HasSubstr("out of range")));
}

TEST_F(VolumesFileTest, EntriesThatCannotBeAreNamed) {
  const std::string good = "volumes { name: \"ok\" size_bytes: 1 }\n";
  EXPECT_THAT(Read(good + " volumes { name: \"a\" validate_only: true }"),
              StatusIs(kInvalid, AllOf(HasSubstr(":2:2: entry 2 (\"a\")"),
                                       HasSubstr("validate_only"))));
  EXPECT_THAT(Read(good + "volumes { name: \"a\" size_bytes: 1\n"
                          "labels { key: \"k\" value: \"\\xff\" } }"),
              StatusIs(kInvalid, AllOf(HasSubstr(":2:1: entry 2 (\"a\")"),
                                       HasSubstr("UTF-8"))));
  EXPECT_THAT(Read(good + good),
              StatusIs(kInvalid, AllOf(HasSubstr(":2:1: entry 2 (\"ok\")"),
                                       HasSubstr(":1:1: entry 1"))));
}

TEST_F(VolumesFileTest, TheSameRequestIdMakesNoDoubledEntryRight) {
  const std::string entry =
      "volumes { name: \"a\" size_bytes: 1 request_id: \"r\" }\n";
  EXPECT_THAT(Read(entry + entry), StatusIs(kInvalid, HasSubstr("entry 2")));
}

TEST_F(VolumesFileTest, WhatIsThereAlreadyStaysAsItIs) {
  ASSERT_THAT(ReadAndCreate("volumes { name: \"a\" size_bytes: 5 }"), IsOk());
  const std::string uid = catalog_.Get("a")->uid();
  EXPECT_THAT(ReadAndCreate("volumes { name: \"a\" size_bytes: 6 }\n"
                            "volumes { name: \"b\" size_bytes: 7 }\n"),
              IsOk());
  EXPECT_EQ(catalog_.Get("a")->uid(), uid);
  EXPECT_EQ(catalog_.Get("a")->size_bytes(), 5);
  EXPECT_THAT(catalog_.Get("b"), IsOk());
}

TEST_F(VolumesFileTest, CreateVolumesErrorsNameEntryFieldAndValue) {
  EXPECT_THAT(
      ReadAndCreate("volumes { name: \"first\" size_bytes: 1 }\n"
                    "\n"
                    "  volumes { name: \"a\" size_bytes: -5 }\n"),
      StatusIs(kInvalid,
               AllOf(StartsWith(Path() + ":3:3: entry 2 (\"a\"): size_bytes"),
                     HasSubstr("-5"))));
  EXPECT_THAT(catalog_.Get("first"), IsOk());
  EXPECT_THAT(ReadAndCreate("volumes { size_bytes: 1 }"),
              StatusIs(kInvalid, HasSubstr("entry 1 (\"\"): volume name")));
  EXPECT_THAT(ReadAndCreate("volumes { name: \"big\" size_bytes: 1073741824 "
                            "allocator: ALLOCATOR_MALLOC }"),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("entry 1 (\"big\")")));
}

}  // namespace
}  // namespace ramvol::service
