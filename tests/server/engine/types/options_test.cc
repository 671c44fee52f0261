#include "server/engine/types/options.h"

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr uint64_t kMiB = 1 << 20;

// Expects an INVALID_ARGUMENT about `field`, with `words` in its message.
void ExpectInvalid(const absl::Status& status, std::string_view field,
                   const testing::Matcher<const std::string&>& words) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(GetField(status), field);
  EXPECT_EQ(GetReason(status),
            field == "name" ? reason::kInvalidName : reason::kInvalidField);
  EXPECT_THAT(std::string(status.message()), words);
}

template <typename Change>
absl::Status ValidateEngine(Change change) {
  EngineOptions options;
  change(options);
  return options.Validate();
}

template <typename Change>
absl::Status ValidateVolume(Change change) {
  VolumeOptions options;
  options.name = "scratch";
  options.size_bytes = kMiB;
  change(options);
  return options.Validate();
}

// ---- Engine -------------------------------------------------------------

TEST(EngineOptionsTest, DefaultsAreValid) {
  EXPECT_EQ(EngineOptions().Validate(), absl::OkStatus());
}

TEST(EngineOptionsTest, MemoryLimitHasBounds) {
  const auto validate = [](uint64_t bytes) {
    return ValidateEngine(
        [bytes](EngineOptions& o) { o.memory_limit_bytes = bytes; });
  };
  EXPECT_TRUE(validate(kMinMemoryLimitBytes).ok());
  EXPECT_TRUE(validate(kMaxMemoryLimitBytes).ok());
  ExpectInvalid(validate(0), "memory_limit_bytes",
                AllOf(HasSubstr("is 0 bytes"), HasSubstr("16 MiB to 4 TiB")));
  ExpectInvalid(validate(kMinMemoryLimitBytes - 1), "memory_limit_bytes",
                HasSubstr("16777215 bytes"));
  ExpectInvalid(validate(8 * kMiB), "memory_limit_bytes", HasSubstr("8 MiB"));
  ExpectInvalid(validate(kMaxMemoryLimitBytes + 1), "memory_limit_bytes",
                HasSubstr("4 TiB"));
  ExpectInvalid(validate(~uint64_t{0}), "memory_limit_bytes",
                HasSubstr("18446744073709551615 bytes"));
}

TEST(EngineOptionsTest, HotCacheIsAtMostHalfOfTheLimit) {
  const auto validate = [](uint64_t bytes) {
    return ValidateEngine([bytes](EngineOptions& o) {
      o.memory_limit_bytes = 100 * kMiB;
      o.hot_cache_bytes = bytes;
    });
  };
  EXPECT_TRUE(validate(0).ok());
  EXPECT_TRUE(validate(kMiB).ok());
  EXPECT_TRUE(validate(50 * kMiB).ok());
  ExpectInvalid(validate(1), "hot_cache_bytes", HasSubstr("is 1 bytes"));
  ExpectInvalid(validate(kMiB - 1), "hot_cache_bytes", HasSubstr("1 MiB"));
  ExpectInvalid(validate(50 * kMiB + 1), "hot_cache_bytes",
                AllOf(HasSubstr("50 MiB"), HasSubstr("half of the memory")));
}

TEST(EngineOptionsTest, CountsHaveBounds) {
  ExpectInvalid(
      ValidateEngine([](EngineOptions& o) { o.background_threads = -1; }),
      "background_threads", AllOf(HasSubstr("-1"), HasSubstr("0 to 64")));
  ExpectInvalid(
      ValidateEngine([](EngineOptions& o) { o.background_threads = 65; }),
      "background_threads", HasSubstr("65"));
  ExpectInvalid(
      ValidateEngine([](EngineOptions& o) { o.merge_interval_ms = 0; }),
      "merge_interval_ms", HasSubstr("is 0"));
  ExpectInvalid(ValidateEngine([](EngineOptions& o) { o.max_volumes = 0; }),
                "max_volumes", HasSubstr("is 0"));
}

// ---- Volume -------------------------------------------------------------

TEST(VolumeOptionsTest, DefaultsWithNameAndSizeAreValid) {
  EXPECT_TRUE(ValidateVolume([](VolumeOptions&) {}).ok());
}

TEST(VolumeOptionsTest, SizeHasBounds) {
  const auto validate = [](uint64_t bytes) {
    return ValidateVolume([bytes](VolumeOptions& o) { o.size_bytes = bytes; });
  };
  EXPECT_TRUE(validate(1).ok());
  EXPECT_TRUE(validate(kMaxVolumeBytes).ok());
  ExpectInvalid(validate(0), "size_bytes",
                AllOf(HasSubstr("is 0"), HasSubstr("9223372036854775807")));
  ExpectInvalid(validate(kMaxVolumeBytes + 1), "size_bytes",
                HasSubstr("9223372036854775808"));
}

TEST(VolumeOptionsTest, FramesArePowersOfTwoInOrder) {
  const auto validate = [](uint32_t min, uint32_t max) {
    return ValidateVolume([min, max](VolumeOptions& o) {
      o.min_frame_bytes = min;
      o.max_frame_bytes = max;
    });
  };
  for (uint32_t bytes = 4096; bytes <= 65536; bytes *= 2) {
    EXPECT_TRUE(validate(bytes, bytes).ok());
    EXPECT_TRUE(validate(4096, bytes).ok());
  }
  for (const uint32_t bytes : {0u, 1u, 2048u, 4097u, 12288u, ~0u}) {
    ExpectInvalid(validate(bytes, 65536), "min_frame_bytes",
                  HasSubstr("4 KiB"));
  }
  ExpectInvalid(validate(4096, 131072), "max_frame_bytes",
                AllOf(HasSubstr("128 KiB"), HasSubstr("64 KiB")));
  ExpectInvalid(validate(65536, 4096), "min_frame_bytes",
                AllOf(HasSubstr("64 KiB"), HasSubstr("4 KiB"),
                      HasSubstr("max_frame_bytes")));
}

TEST(VolumeOptionsTest, LevelsHaveBoundsAndAreNotZero) {
  const auto validate = [](int write, int merge) {
    return ValidateVolume([write, merge](VolumeOptions& o) {
      o.write_level = write;
      o.merge_level = merge;
    });
  };
  EXPECT_TRUE(validate(kMinLevel, kMaxLevel).ok());
  ExpectInvalid(validate(0, 1), "write_level", HasSubstr("is 0"));
  ExpectInvalid(validate(1, 0), "merge_level", HasSubstr("is 0"));
  ExpectInvalid(validate(kMaxLevel + 1, 1), "write_level",
                AllOf(HasSubstr("20"), HasSubstr("-50 to 19")));
  ExpectInvalid(validate(1, kMinLevel - 1), "merge_level", HasSubstr("-51"));
}

TEST(VolumeOptionsTest, MallocTakesNoLimitOfItsOwn) {
  const auto validate = [](Allocator allocator, uint64_t limit) {
    return ValidateVolume([allocator, limit](VolumeOptions& o) {
      o.allocator = allocator;
      o.memory_limit_bytes = limit;
    });
  };
  EXPECT_TRUE(validate(Allocator::kMalloc, 0).ok());
  EXPECT_TRUE(validate(Allocator::kSparse, kMiB).ok());
  EXPECT_TRUE(validate(Allocator::kZstd, 1).ok());
  ExpectInvalid(validate(Allocator::kMalloc, 3 * kMiB), "memory_limit_bytes",
                AllOf(HasSubstr("3 MiB"), HasSubstr("MALLOC")));
}

TEST(VolumeOptionsTest, TheNameIsChecked) {
  ExpectInvalid(ValidateVolume([](VolumeOptions& o) { o.name = ""; }), "name",
                HasSubstr("is empty"));
}

// ---- Names --------------------------------------------------------------

TEST(ValidateNameTest, AcceptsWhatTheExpressionDoes) {
  for (const std::string& name :
       {std::string("a"), std::string("0"), std::string("scratch"),
        std::string("vm-1.disk_0"), std::string("a..b"),
        std::string(kMaxNameBytes, 'x')}) {
    EXPECT_EQ(ValidateName(name), absl::OkStatus());
  }
}

TEST(ValidateNameTest, SaysWhatIsWrong) {
  ExpectInvalid(ValidateName(""), "name", HasSubstr("is empty"));
  ExpectInvalid(ValidateName(std::string(64, 'x')), "name",
                HasSubstr("has 64 bytes"));
  ExpectInvalid(ValidateName("Scratch"), "name",
                AllOf(HasSubstr("\"Scratch\""), HasSubstr("position 1")));
  ExpectInvalid(ValidateName("a b"), "name", HasSubstr("position 2"));
  ExpectInvalid(ValidateName("-a"), "name", HasSubstr("begins with"));
  ExpectInvalid(ValidateName("a."), "name", HasSubstr("ends with"));
}

TEST(ValidateNameTest, MessagesArePrintableAndBounded) {
  ExpectInvalid(ValidateName(std::string_view("a\0b", 3)), "name",
                HasSubstr("\\x00"));
  ExpectInvalid(ValidateName("\xff\n"), "name", HasSubstr("\\xff\\n"));
  const absl::Status status = ValidateName(std::string(1 << 20, '\x01'));
  EXPECT_LT(status.message().size(), 1000);
}

TEST(ShownNameTest, IsTheNameUnlessNoVolumeCanHaveIt) {
  const std::string longest(kMaxNameBytes, 'x');
  EXPECT_EQ(ShownName(longest), longest);
  EXPECT_EQ(ShownName(std::string(4000, 'x')),
            std::string(kMaxShownNameBytes, 'x') + "...");
}

}  // namespace
}  // namespace ramvol::engine
