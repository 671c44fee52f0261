#include "server/service/lease.h"

#include <cstdint>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/engine/types/volume_types.h"

namespace ramvol::service {
namespace {

using engine::VolumeUse;

int64_t Ns(absl::Duration duration) {
  return absl::ToInt64Nanoseconds(duration);
}

constexpr VolumeUse kNew;
constexpr VolumeUse kRead{.operations = 1};
constexpr VolumeUse kAttached{
    .operations = 1, .attachments = 1, .attached = true};
constexpr VolumeUse kLeft{.operations = 1, .attachments = 1};

TEST(LeaseTest, IsOverWhenNothingWasSeenForSoLong) {
  Lease lease;
  EXPECT_FALSE(lease.granted());
  EXPECT_FALSE(lease.IsOver(Ns(absl::Hours(1000))));
  lease.Start(absl::Hours(2), kNew, 0);
  lease.Look(kNew, Ns(absl::Minutes(119)));
  EXPECT_EQ(lease.Left(Ns(absl::Minutes(119))), absl::Minutes(1));
  EXPECT_FALSE(lease.IsOver(Ns(absl::Minutes(119))));
  EXPECT_TRUE(lease.IsOver(Ns(absl::Minutes(120))));
  lease.End();
  EXPECT_FALSE(lease.IsOver(Ns(absl::Minutes(120))));
}

TEST(LeaseTest, CountsFromTheLookThatNoticedAUse) {
  Lease lease;
  lease.Start(absl::Hours(2), kNew, 0);
  lease.Look(kRead, Ns(absl::Hours(1)));
  lease.Look(kRead, Ns(absl::Hours(2)));
  EXPECT_FALSE(lease.IsOver(Ns(absl::Hours(2))));
  EXPECT_TRUE(lease.IsOver(Ns(absl::Hours(3))));
}

TEST(LeaseTest, NeverExpiresWhileAttachedAndCountsFromTheEndOfThat) {
  Lease lease;
  lease.Start(absl::Hours(2), kRead, 0);
  lease.Look(kAttached, Ns(absl::Hours(1)));
  EXPECT_FALSE(lease.IsOver(Ns(absl::Hours(10))));
  lease.Look(kAttached, Ns(absl::Hours(10)));
  EXPECT_FALSE(lease.IsOver(Ns(absl::Hours(20))));
  // It was left at some time since.
  lease.Look(kLeft, Ns(absl::Hours(20)));
  EXPECT_FALSE(lease.IsOver(Ns(absl::Hours(21))));
  EXPECT_TRUE(lease.IsOver(Ns(absl::Hours(22))));
  // One who came and went between two looks.
  lease.Start(absl::Hours(2), kNew, 0);
  lease.Look({.attachments = 1}, Ns(absl::Hours(2)));
  EXPECT_FALSE(lease.IsOver(Ns(absl::Hours(2))));
}

TEST(LeaseTest, LooksMoreOftenTheShorterItIs) {
  const auto next = [](absl::Duration ttl) {
    Lease lease;
    lease.Start(ttl, kNew, 0);
    return absl::Nanoseconds(lease.NextLookNs(0));
  };
  EXPECT_EQ(next(absl::Seconds(1)), absl::Seconds(1));
  EXPECT_EQ(next(absl::Seconds(10)), absl::Seconds(1));
  EXPECT_EQ(next(absl::Hours(32)), absl::Hours(1));
  EXPECT_EQ(next(absl::Minutes(32)), absl::Minutes(1));
  EXPECT_EQ(next(absl::Hours(24 * 3650)), absl::Hours(1));
  // And when it ends.
  Lease lease;
  lease.Start(absl::Minutes(32), kNew, 0);
  EXPECT_EQ(lease.NextLookNs(Ns(absl::Seconds(1910))), Ns(absl::Seconds(1920)));
  EXPECT_EQ(lease.NextLookNs(Ns(absl::Seconds(2000))), Ns(absl::Seconds(2001)));
}

}  // namespace
}  // namespace ramvol::service
