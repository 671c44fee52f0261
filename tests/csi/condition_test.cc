#include "csi/condition.h"

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/mocks/mock_client_connection.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {
namespace {

using ::testing::HasSubstr;
using ::testing::Return;

v1::GetServerInfoResponse Server(int64_t used, int64_t limit) {
  v1::GetServerInfoResponse info;
  info.set_memory_used_bytes(used);
  info.set_memory_limit_bytes(limit);
  return info;
}

class ConditionTest : public ::testing::Test {
 protected:
  // Of what the volume holds alone, and with what it shares.
  Condition OfVolume(int64_t own, int64_t all, int64_t limit) {
    v1::VolumeStats stats;
    stats.set_own_bytes(own);
    stats.set_memory_bytes(all);
    stats.set_memory_limit_bytes(limit);
    ON_CALL(*connection_, StatVolume).WillByDefault(Return(stats));
    v1::Volume volume;
    volume.set_memory_limit_bytes(limit);
    return ConditionOf(client_, volume, Server(0, 100));
  }

  const std::shared_ptr<::testing::NiceMock<MockClientConnection>> connection_ =
      std::make_shared<::testing::NiceMock<MockClientConnection>>();
  const Client client_{connection_};
};

TEST_F(ConditionTest, MemoryThatIsNearlyFullIsAbnormalBeforeItIs) {
  EXPECT_EQ(ConditionOf(client_, {}, Server(89, 100)).cause, Cause::kNone);
  const Condition full = ConditionOf(client_, {}, Server(90, 100));
  EXPECT_TRUE(full.abnormal());
  EXPECT_EQ(full.cause, Cause::kServerMemory);
  EXPECT_THAT(full.message, HasSubstr("90% of its memory limit"));
  // Without a limit there is nothing to be near.
  EXPECT_FALSE(ConditionOf(client_, {}, Server(90, 0)).abnormal());
}

TEST_F(ConditionTest, AVolumesOwnLimitCountsWhatItHoldsAlone) {
  EXPECT_FALSE(OfVolume(89, 89, 100).abnormal());
  EXPECT_EQ(OfVolume(90, 90, 100).cause, Cause::kVolumeMemory);
  // A clone of a large image, with a small limit for its changes.
  EXPECT_FALSE(OfVolume(10, 1000, 100).abnormal());
}

TEST_F(ConditionTest, AskNothingAboutAVolumeWithoutALimit) {
  EXPECT_CALL(*connection_, StatVolume).Times(0);
  EXPECT_FALSE(ConditionOf(client_, {}, Server(0, 100)).abnormal());
}

TEST_F(ConditionTest, LostContentIsWorseThanAllElse) {
  v1::Volume volume;
  volume.set_state(v1::VOLUME_STATE_DAMAGED);
  EXPECT_EQ(ConditionOf(client_, volume, Server(100, 100)).cause,
            Cause::kDamaged);
}

TEST_F(ConditionTest, AServerThatDoesNotAnswerIsAbnormal) {
  const Condition lost =
      ConditionOf(client_, {}, absl::UnavailableError("no route"));
  EXPECT_EQ(lost.cause, Cause::kUnreachable);
  EXPECT_THAT(lost.message, HasSubstr("no route"));
}

TEST(CauseTest, EachHasANameOfItsOwn) {
  std::set<std::string> names;
  for (size_t i = 0; i < kCauses; ++i) {
    names.insert(NameOf(static_cast<Cause>(i)));
  }
  EXPECT_EQ(names.size(), kCauses);
  EXPECT_TRUE(DeadDevice().abnormal());
  EXPECT_TRUE(StoppedFileSystem().abnormal());
}

}  // namespace
}  // namespace ramvol::csi_driver
