// What every way into a volume, a clone or a snapshot must do alike.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <vector>

#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/conformance/device.h"
#include "tests/conformance/snapshot_reader.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"

namespace ramvol::testing {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr int64_t kGreatest = std::numeric_limits<int64_t>::max();
constexpr int64_t kSize = (int64_t{1} << 30) + 777;

struct Way {
  const char* name;
  std::unique_ptr<DeviceFactory> (*make)();
};
constexpr Way kWays[] = {{"Engine", MakeEngineFactory},
                         {"Unary", MakeUnaryFactory},
                         {"Io", MakeIoFactory},
                         {"Sdk", MakeSdkFactory},
                         {"CommandLine", MakeCliFactory},
                         {"Nbd", MakeNbdFactory},
                         {"NbdBridge", MakeNbdBridgeFactory}};

// Whose bytes a test reads and writes.
enum class Subject {
  kVolume,
  kClone,      // Of a snapshot with data, which is trimmed in the clone.
  kSnapshots,  // A volume that is read through snapshots, see SnapshotReader.
};

class WayTest {
 protected:
  explicit WayTest(const Way& way) : factory_(way.make()) {}

  // An error of this code, and the words, where errors have any.
  ::testing::Matcher<const absl::Status&> Fails(absl::StatusCode code,
                                                const std::string& words) {
    if (!factory_->errors_explain()) return StatusIs(code, _);
    return StatusIs(code, HasSubstr(words));
  }
  // The same with a reason.
  ::testing::Matcher<const absl::Status&> FailsFor(absl::StatusCode code,
                                                   std::string_view reason) {
    if (!factory_->errors_explain()) return StatusIs(code, _);
    return HasReason(code, reason);
  }
  int Steps(int many) const {
    return factory_->steps_are_dear() ? many / 10 : many;
  }
  // Of no more than `length`.
  int64_t Range(int64_t length) const {
    return std::min(length, factory_->max_range_bytes());
  }

  const std::unique_ptr<DeviceFactory> factory_;
  std::mt19937_64 random_{11};
};

class ConformanceTest
    : public ::testing::TestWithParam<std::tuple<Way, Subject>>,
      public WayTest {
 protected:
  ConformanceTest() : WayTest(std::get<Way>(GetParam())) {}

  std::unique_ptr<Device> Open(int64_t size_bytes = kSize) {
    const auto subject = std::get<Subject>(GetParam());
    if (subject == Subject::kSnapshots) {
      return std::make_unique<SnapshotReader>(*factory_, "volume", size_bytes);
    }
    const bool clone = subject == Subject::kClone && golden_.empty();
    if (clone) MakeClone(size_bytes);
    auto device = factory_->Open("volume", size_bytes);
    if (clone) {
      EXPECT_THAT(device->Trim(0, golden_.size()), IsOk());
    }
    return device;
  }

  // Whatever was done to a clone, its source is as it was.
  void TearDown() override {
    if (golden_.empty()) return;
    for (const char* name : {"golden", "@kept"}) {
      EXPECT_EQ(*factory_->Open(name, 0)->Read(0, golden_.size()), golden_);
    }
  }

 private:
  void MakeClone(int64_t size_bytes) {
    golden_ = RandomData(random_, std::min<int64_t>(size_bytes, 3 << 20));
    EXPECT_THAT(factory_->Open("golden", size_bytes)->Write(0, golden_),
                IsOk());
    EXPECT_THAT(factory_->Snapshot("golden", "kept"), IsOk());
    EXPECT_THAT(factory_->Clone("@kept", "volume"), IsOk());
  }

  std::string golden_;
};

// Of content alone, which every way has.
class ContentTest : public ConformanceTest {};

TEST_P(ContentTest, ReadsZeroesWhereNothingWasWritten) {
  auto device = Open();
  EXPECT_EQ(*device->Read(12345, 100000), std::string(100000, '\0'));
  EXPECT_EQ(*device->Read(kSize - 1, 1), std::string(1, '\0'));
}

TEST_P(ContentTest, ReadsBackWhatWasWrittenAtEveryBoundary) {
  auto device = Open();
  for (int64_t offset : {0, 1, 4095, 4096, 65535, 65536, 65537, 131071}) {
    for (int64_t length : {1, 4095, 4096, 4097, 65536, 65537, 200000}) {
      const std::string data = RandomData(random_, length);
      ASSERT_THAT(device->Write(offset, data), IsOk());
      ASSERT_EQ(*device->Read(offset, length), data) << offset << ' ' << length;
    }
  }
}

TEST_P(ContentTest, CarriesSixteenMebibytes) {
  auto device = Open();
  const std::string data = RandomData(random_, 16 << 20);
  ASSERT_THAT(device->Write(1234567, data), IsOk());
  EXPECT_EQ(*device->Read(1234567, 16 << 20), data);
}

TEST_P(ConformanceTest, HoldsTheLastByteOfTheGreatestVolume) {
  auto device = Open(kGreatest);
  ASSERT_THAT(device->Write(kGreatest - 3, "end"), IsOk());
  EXPECT_EQ(*device->Read(kGreatest - 5, 5), std::string("\0\0end", 5));
  const int64_t range = Range(kGreatest);
  ASSERT_THAT(device->Trim(kGreatest - range, range), IsOk());
  EXPECT_EQ(*device->Read(kGreatest - 5, 5), std::string(5, '\0'));
}

TEST_P(ConformanceTest, RefusesWhatEndsPastTheVolume) {
  auto device = Open();
  const auto past = Fails(absl::StatusCode::kOutOfRange, std::to_string(kSize));
  EXPECT_THAT(device->Read(kSize, 1).status(), past);
  EXPECT_THAT(device->Read(kSize - 9, 10).status(), past);
  EXPECT_THAT(device->Write(kSize - 1, "ab"),
              Fails(absl::StatusCode::kOutOfRange, std::to_string(kSize - 1)));
  EXPECT_THAT(device->Trim(kGreatest - 3, 2), past);
  const int64_t range = Range(kGreatest - 1);
  EXPECT_THAT(device->WriteZeroes(kGreatest - range, range, true), past);
  EXPECT_THAT(device->Extents(kSize - 1, 2).status(), past);
  if (factory_->errors_explain()) {
    EXPECT_EQ(GetReason(device->Trim(kSize, 1)), reason::kPastEnd);
  }
}

TEST_P(ContentTest, TrimsAndZeroesAtAnyByte) {
  auto device = Open();
  std::string expected = RandomData(random_, 500000);
  ASSERT_THAT(device->Write(0, expected), IsOk());
  ASSERT_THAT(device->Trim(1000, 100000), IsOk());
  std::fill_n(expected.begin() + 1000, 100000, '\0');
  ASSERT_THAT(device->WriteZeroes(200001, 70000, false), IsOk());
  std::fill_n(expected.begin() + 200001, 70000, '\0');
  ASSERT_THAT(device->WriteZeroes(300001, 99999, true), IsOk());
  std::fill_n(expected.begin() + 300001, 99999, '\0');
  EXPECT_EQ(*device->Read(0, expected.size()), expected);
}

TEST_P(ConformanceTest, ExtentsTellDataFromHoles) {
  auto device = Open(1 << 20);
  EXPECT_THAT(*device->Extents(0, 1 << 20),
              ElementsAre(DeviceExtent{0, 1 << 20, true}));
  ASSERT_THAT(device->Write(100000, "x"), IsOk());
  ASSERT_THAT(device->WriteZeroes(200704, 8192, /*no_hole=*/true), IsOk());
  std::vector<DeviceExtent> expected = {{50, 98304 - 50, true},
                                        {98304, 4096, false},
                                        {102400, 98304, true},
                                        {200704, 8192, false},
                                        {208896, (1 << 20) - 208896, true}};
  if (!factory_->keeps_zeroes()) {
    expected.resize(2);
    expected.push_back({102400, (1 << 20) - 102400, true});
  }
  EXPECT_THAT(*device->Extents(50, (1 << 20) - 50), ElementsAreArray(expected));
}

TEST_P(ConformanceTest, ReadOnlyVolumeIsReadOnly) {
  auto device = Open();
  ASSERT_THAT(device->Write(0, "kept"), IsOk());
  ASSERT_THAT(factory_->SetReadOnly("volume"), IsOk());
  const auto refused =
      Fails(absl::StatusCode::kFailedPrecondition, "read-only");
  EXPECT_THAT(device->Write(0, "lost"), refused);
  EXPECT_THAT(device->Trim(0, 1), refused);
  EXPECT_THAT(device->WriteZeroes(0, 1, false), refused);
  EXPECT_EQ(*device->Read(0, 4), "kept");
  EXPECT_THAT(device->Flush(), IsOk());
}

TEST_P(ConformanceTest, DeletedVolumeIsGoneForThoseWhoHaveItOpen) {
  auto device = Open();
  ASSERT_THAT(device->Write(0, "gone"), IsOk());
  ASSERT_THAT(factory_->Delete("volume"), IsOk());
  const auto gone = Fails(absl::StatusCode::kNotFound, "\"volume\"");
  EXPECT_THAT(device->Read(0, 4).status(), gone);
  EXPECT_THAT(device->Write(0, "x"), gone);
  EXPECT_THAT(device->Flush(), gone);
}

TEST_P(ConformanceTest, MemoryLimitRefusesAndChangesNothing) {
  auto device = Open();
  const std::string kept = RandomData(random_, 4 << 20);
  ASSERT_THAT(device->Write(5, kept), IsOk());
  const std::string large = Noise(random_, 16 << 20);
  absl::Status status;
  int64_t offset = 8 << 20;
  for (; status.ok(); offset += large.size()) {
    ASSERT_LT(offset, kSize - 16 * (1 << 20)) << "there is no limit";
    status = device->Write(offset, large);
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, _));
  // Who reads by snapshots needs a little memory for the next one.
  ASSERT_THAT(device->Trim(8 << 20, 1 << 20), IsOk());
  EXPECT_EQ(*device->Read(5, kept.size()), kept);
  ASSERT_THAT(device->Trim(8 << 20, offset - (8 << 20)), IsOk());
  ASSERT_THAT(device->Write(8 << 20, large), IsOk());
  EXPECT_EQ(*device->Read(8 << 20, large.size()), large);
}

TEST_P(ContentTest, WhatOneConnectionWasToldTheOtherReads) {
  std::unique_ptr<Device> devices[] = {Open(), Open()};
  std::string expected(300000, '\0');
  const int steps = Steps(100);
  for (int step = 0; step < steps; ++step) {
    Device& writer = *devices[step % 2];
    Device& reader = *devices[(step + 1) % 2];
    const int64_t begin = random_() % expected.size();
    const int64_t length = 1 + random_() % (expected.size() - begin);
    switch (random_() % 4) {
      case 0:
        ASSERT_THAT(writer.Trim(begin, length), IsOk());
        std::fill_n(expected.begin() + begin, length, '\0');
        break;
      case 1:
        ASSERT_THAT(writer.WriteZeroes(begin, length, step % 3 == 0), IsOk());
        std::fill_n(expected.begin() + begin, length, '\0');
        break;
      default:
        const std::string data = RandomData(random_, length);
        ASSERT_THAT(writer.Write(begin, data), IsOk());
        expected.replace(begin, length, data);
    }
    if (step % 5 == 0) {
      ASSERT_THAT(writer.Flush(), IsOk());
    }
    ASSERT_TRUE(*reader.Read(0, expected.size()) == expected)
        << "step " << step;
  }
}

TEST_P(ContentTest, ConnectionsAtWorkSeeWhatOthersWereTold) {
  const int writes = Steps(500);
  std::unique_ptr<Device> devices[] = {Open(), Open()};
  std::atomic<int> told{0};
  std::thread writer([&] {
    for (int number = 1; number <= writes; ++number) {
      const std::string data(5000, static_cast<char>(number % 100 + 1));
      // In another block each time, over the border of two.
      EXPECT_THAT(devices[0]->Write(number * 8192 - 2500, data), IsOk());
      told = number;
    }
  });
  for (int seen = 0; seen < writes;) {
    seen = told;
    if (seen == 0) continue;
    const std::string data(5000, static_cast<char>(seen % 100 + 1));
    const auto read = devices[1]->Read(seen * 8192 - 2500, 5000);
    EXPECT_THAT(read, IsOk());
    EXPECT_EQ(read.value_or(""), data) << seen;
    if (HasFailure()) break;
  }
  writer.join();
}

TEST_P(ContentTest, EqualsAByteArrayUnderManyThreads) {
  const uint64_t seed = TestSeed(20261123);
  const int steps = TestSteps(Steps(150));
  auto device = Open();
  constexpr int64_t kPart = 333333;
  std::vector<std::thread> threads;
  for (int part = 0; part < 4; ++part) {
    threads.emplace_back([&, part] {
      std::mt19937_64 random(seed + part);
      std::string expected(kPart, '\0');
      const int64_t base = part * kPart;
      for (int step = 0; step < steps; ++step) {
        const int64_t begin = random() % kPart;
        const int64_t length =
            std::min<int64_t>(kPart - begin, 1 + SkewedBelow(random, 200000));
        if (random() % 4 == 0) {
          ASSERT_THAT(random() % 2 == 0
                          ? device->Trim(base + begin, length)
                          : device->WriteZeroes(base + begin, length, true),
                      IsOk());
          std::fill_n(expected.begin() + begin, length, '\0');
        } else if (random() % 2 == 0) {
          const std::string data = RandomData(random, length);
          ASSERT_THAT(device->Write(base + begin, data), IsOk());
          expected.replace(begin, length, data);
        } else {
          const auto data = device->Read(base + begin, length);
          ASSERT_THAT(data, IsOk());
          ASSERT_TRUE(*data == expected.substr(begin, length))
              << "step " << step << " of part " << part;
        }
      }
      ASSERT_TRUE(*device->Read(base, kPart) == expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

std::string NameOf(
    const ::testing::TestParamInfo<std::tuple<Way, Subject>>& info) {
  static constexpr const char* kNames[] = {"", "OfAClone", "BySnapshots"};
  return std::string(std::get<Way>(info.param).name) +
         kNames[static_cast<int>(std::get<Subject>(info.param))];
}

constexpr Subject kSubjects[] = {Subject::kVolume, Subject::kClone,
                                 Subject::kSnapshots};

INSTANTIATE_TEST_SUITE_P(All, ConformanceTest,
                         ::testing::Combine(::testing::ValuesIn(kWays),
                                            ::testing::ValuesIn(kSubjects)),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(All, ContentTest,
                         ::testing::Combine(::testing::ValuesIn(kWays),
                                            ::testing::ValuesIn(kSubjects)),
                         NameOf);
// Each snapshot that SnapshotReader takes would be another program.
INSTANTIATE_TEST_SUITE_P(
    Vhost, ContentTest,
    ::testing::Combine(::testing::Values(Way{"Vhost", MakeVhostFactory}),
                       ::testing::Values(Subject::kVolume, Subject::kClone)),
    NameOf);

class SnapshotConformanceTest : public ::testing::TestWithParam<Way>,
                                public WayTest {
 protected:
  SnapshotConformanceTest() : WayTest(GetParam()) {}
};

TEST_P(SnapshotConformanceTest, KeepsWhatTheVolumeHeld) {
  auto volume = factory_->Open("volume", kSize);
  const std::string before = RandomData(random_, 500000);
  ASSERT_THAT(volume->Write(100000, before), IsOk());
  ASSERT_THAT(factory_->Snapshot("volume", "kept"), IsOk());
  auto snapshot = factory_->Open("@kept", kSize);
  const auto extents = *snapshot->Extents(0, kSize);
  EXPECT_EQ(extents, *volume->Extents(0, kSize));
  ASSERT_THAT(volume->Write(0, RandomData(random_, 300000)), IsOk());
  ASSERT_THAT(volume->Trim(400000, 1 << 20), IsOk());
  EXPECT_EQ(*snapshot->Read(100000, before.size()), before);
  EXPECT_EQ(*snapshot->Read(0, 100000), std::string(100000, '\0'));
  EXPECT_EQ(*snapshot->Read(kSize - 1, 1), std::string(1, '\0'));
  EXPECT_EQ(*snapshot->Extents(0, kSize), extents);
  // It outlives the volume, and what has it open outlives it.
  volume.reset();
  ASSERT_THAT(factory_->Delete("volume"), IsOk());
  EXPECT_EQ(*snapshot->Read(100000, before.size()), before);
  ASSERT_THAT(factory_->Delete("@kept"), IsOk());
  EXPECT_THAT(snapshot->Read(100000, 1).status(),
              Fails(absl::StatusCode::kNotFound, "kept"));
}

TEST_P(SnapshotConformanceTest, RefusesEveryChange) {
  auto volume = factory_->Open("volume", kSize);
  EXPECT_FALSE(volume->read_only());
  const std::string before = RandomData(random_, 100000);
  ASSERT_THAT(volume->Write(0, before), IsOk());
  ASSERT_THAT(factory_->Snapshot("volume", "kept"), IsOk());
  auto snapshot = factory_->Open("@kept", kSize);
  EXPECT_TRUE(snapshot->read_only());
  const auto refused = FailsFor(absl::StatusCode::kFailedPrecondition,
                                reason::kReadOnlySnapshot);
  EXPECT_THAT(snapshot->Write(0, "lost"), refused);
  EXPECT_THAT(snapshot->Write(kSize - 4, "lost"), refused);
  EXPECT_THAT(snapshot->Trim(0, 1 << 20), refused);
  EXPECT_THAT(snapshot->WriteZeroes(1, 2, false), refused);
  EXPECT_THAT(snapshot->WriteZeroes(4096, 4096, true), refused);
  EXPECT_THAT(snapshot->Flush(), IsOk());
  EXPECT_EQ(*snapshot->Read(0, before.size()), before);
  EXPECT_EQ(*volume->Read(0, before.size()), before);
}

TEST_P(SnapshotConformanceTest, DamageIsALossForThoseWhoShareItOnly) {
  auto volume = factory_->Open("volume", kSize);
  const std::string before = Text(random_, 1 << 20);
  const std::string changed = Text(random_, 1 << 16);
  ASSERT_THAT(volume->Write(0, before), IsOk());
  ASSERT_THAT(factory_->Snapshot("volume", "kept"), IsOk());
  ASSERT_THAT(factory_->Clone("@kept", "clone"), IsOk());
  ASSERT_THAT(factory_->Clone("volume", "other"), IsOk());
  auto other = factory_->Open("other", kSize);
  ASSERT_THAT(other->Write(0, changed), IsOk());
  ASSERT_TRUE(factory_->Damage("volume", 8192));
  const auto lost =
      FailsFor(absl::StatusCode::kDataLoss, reason::kCorruptFrame);
  for (const char* name : {"volume", "@kept", "clone"}) {
    auto device = factory_->Open(name, kSize);
    EXPECT_THAT(device->Read(8192, 4096).status(), lost) << name;
    EXPECT_EQ(*device->Read(1 << 16, 1 << 16), before.substr(1 << 16, 1 << 16))
        << name;
  }
  EXPECT_EQ(*other->Read(0, 1 << 17),
            changed + before.substr(1 << 16, 1 << 16));
  // Who writes anew is well again, and nobody else.
  ASSERT_THAT(volume->Write(0, changed), IsOk());
  EXPECT_EQ(*volume->Read(0, 1 << 16), changed);
  EXPECT_THAT(factory_->Open("@kept", kSize)->Read(8192, 4096).status(), lost);
}

INSTANTIATE_TEST_SUITE_P(All, SnapshotConformanceTest,
                         ::testing::ValuesIn(kWays),
                         [](const ::testing::TestParamInfo<Way>& info) {
                           return info.param.name;
                         });

}  // namespace
}  // namespace ramvol::testing
