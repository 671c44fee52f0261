#include "csi/volume_watch.h"

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/event_log.h"
#include "base/log_line.h"
#include "client/client.h"
#include "client/mocks/mock_client_connection.h"
#include "csi/condition.h"
#include "csi/device_attacher.h"
#include "csi/volume_handle.h"
#include "csi/volumes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/csi/fake_node.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::ramvol::testing::IsOk;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Return;
using ::testing::SizeIs;
using ::testing::internal::CaptureStderr;
using ::testing::internal::GetCapturedStderr;

class VolumeWatchTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    EventLog::OfProcess().Configure({.program = "test"});
  }
  VolumeWatchTest() { Serve(/*used=*/10); }

  // ramvold has this, of a limit of 100 bytes.
  void Serve(int64_t used) {
    v1::GetServerInfoResponse info;
    info.set_memory_used_bytes(used);
    info.set_memory_limit_bytes(100);
    ON_CALL(*connection_, GetServerInfo).WillByDefault(Return(info));
    ON_CALL(*connection_, ListVolumes).WillByDefault(Return(volumes_list_));
  }
  v1::Volume& Add(const std::string& handle, int64_t bytes) {
    v1::Volume& volume = *volumes_list_.add_volumes();
    volume.set_name(NameOfHandle(handle));
    volume.set_size_bytes(bytes);
    (*volume.mutable_labels())[label::kHandle] = handle;
    return volume;
  }
  // What a look logs.
  std::string Look() {
    CaptureStderr();
    watch_.Look();
    EventLog::OfProcess().Flush(absl::Minutes(1));
    return GetCapturedStderr();
  }
  uint64_t Count(Cause cause) {
    return watch_.summary().by_cause[static_cast<size_t>(cause)];
  }

  v1::ListVolumesResponse volumes_list_;
  const std::shared_ptr<::testing::NiceMock<MockClientConnection>> connection_ =
      std::make_shared<::testing::NiceMock<MockClientConnection>>();
  const Volumes volumes_{Client(connection_), {.node_id = "node-1"}};
  FakeAttacher attacher_{std::getenv("TEST_TMPDIR")};
  std::set<std::string> stopped_;
  VolumeWatch watch_{&volumes_, &attacher_,
                     [this](const AttachedDevice& attached) {
                       return stopped_.count(attached.name) != 0;
                     }};
};

TEST_F(VolumeWatchTest, SumsUpVolumesByTheirClass) {
  EXPECT_FALSE(watch_.summary().reached);
  Add("a", 100);
  (*Add("b", 200).mutable_labels())[label::kClass] = "fast";
  (*Add("c", 300).mutable_labels())[label::kClass] = "fast";
  (*Add("d", 400).mutable_labels())[label::kEphemeral] = "/pods/x";
  // Of people, so not counted.
  volumes_list_.add_volumes()->set_size_bytes(1000);
  Serve(10);
  EXPECT_THAT(Look(), IsEmpty());
  const VolumesSummary summary = watch_.summary();
  EXPECT_TRUE(summary.reached);
  EXPECT_EQ(summary.memory_limit_bytes, 100);
  ASSERT_THAT(summary.classes, SizeIs(3));
  EXPECT_EQ(summary.classes.at("none").volumes, 1);
  EXPECT_EQ(summary.classes.at("fast").volumes, 2);
  EXPECT_EQ(summary.classes.at("fast").provisioned_bytes, 500);
  EXPECT_EQ(summary.classes.at("inline").provisioned_bytes, 400);
  EXPECT_EQ(Count(Cause::kNone), 4);
}

TEST_F(VolumeWatchTest, HoldsABoundedNumberOfClasses) {
  for (size_t i = 0; i < VolumeWatch::kMaxClasses + 10; ++i) {
    (*Add(absl::StrCat("v", i), 1).mutable_labels())[label::kClass] =
        absl::StrCat("class-", i);
  }
  Serve(10);
  Look();
  EXPECT_THAT(watch_.summary().classes, SizeIs(VolumeWatch::kMaxClasses + 1));
  EXPECT_EQ(watch_.summary().classes.at("_other").volumes, 10);
}

TEST_F(VolumeWatchTest, LogsPressureOnceAndItsEnd) {
  Add("PVC 1", 100);
  Serve(95);
  EXPECT_THAT(Look(), AllOf(HasSubstr("warning memory_low"), HasSubstr("PVC 1"),
                            HasSubstr("server_memory"),
                            HasSubstr("95% of its memory limit")));
  EXPECT_EQ(Count(Cause::kServerMemory), 1);
  Serve(96);
  EXPECT_THAT(Look(), IsEmpty());
  Serve(10);
  EXPECT_THAT(Look(), AllOf(HasSubstr("PVC 1"), HasSubstr("in order")));
  EXPECT_EQ(Count(Cause::kServerMemory), 0);
  EXPECT_THAT(Look(), IsEmpty());
  Serve(95);
  EXPECT_THAT(Look(), HasSubstr("memory_low"));
}

TEST_F(VolumeWatchTest, LogsFileSystemsThatHaveStopped) {
  Add("v", 100).set_uid("u");
  Serve(10);
  ASSERT_THAT(
      attacher_.Attach({.name = "v", .uid = "u"}, absl::InfiniteFuture()),
      IsOk());
  EXPECT_THAT(Look(), IsEmpty());
  stopped_ = {"v"};
  EXPECT_THAT(Look(), AllOf(HasSubstr("requests_fail volume=v"),
                            HasSubstr("file system has stopped")));
  EXPECT_EQ(Count(Cause::kDeadDevice), 1);
}

TEST_F(VolumeWatchTest, LogsDamageAndDeadDevices) {
  Add("lost", 100).set_state(v1::VOLUME_STATE_DAMAGED);
  Add("stuck", 100).set_uid("u");
  Serve(10);
  ASSERT_THAT(
      attacher_.Attach({.name = "stuck", .uid = "u"}, absl::InfiniteFuture()),
      IsOk());
  attacher_.Kill("stuck");
  const std::string log = Look();
  EXPECT_THAT(log, AllOf(HasSubstr("data_loss"), HasSubstr("lost"),
                         HasSubstr("damaged")));
  EXPECT_THAT(log, AllOf(HasSubstr("requests_fail"), HasSubstr("stuck"),
                         HasSubstr("dead_device")));
  EXPECT_EQ(Count(Cause::kDamaged), 1);
  EXPECT_EQ(Count(Cause::kDeadDevice), 1);
}

TEST_F(VolumeWatchTest, ADeviceThatWasNeverMadeIsNotDead) {
  Add("v", 100).set_uid("u");
  Serve(10);
  attacher_.BeginToAttach({.name = "v", .uid = "u"}, /*alive=*/false);
  EXPECT_THAT(Look(), IsEmpty());
  EXPECT_EQ(Count(Cause::kDeadDevice), 0);
}

TEST_F(VolumeWatchTest, DevicesOfVolumesThatAreLostAreDead) {
  const auto later = absl::InfiniteFuture();
  ASSERT_THAT(attacher_.Attach({.name = "lost", .uid = "u"}, later), IsOk());
  ON_CALL(*connection_, GetVolume)
      .WillByDefault(Return(absl::NotFoundError("no such volume")));
  EXPECT_THAT(Look(), AllOf(HasSubstr("requests_fail"),
                            HasSubstr("dead_device"), HasSubstr("lost")));
  EXPECT_EQ(Count(Cause::kDeadDevice), 1);
  EXPECT_THAT(Look(), IsEmpty());
  ASSERT_THAT(attacher_.Detach("lost", later), IsOk());
  Look();
  EXPECT_EQ(Count(Cause::kDeadDevice), 0);
}

TEST_F(VolumeWatchTest, ADeviceOfAVolumeThatTheDriverDidNotMakeIsAlive) {
  v1::Volume& volume = *volumes_list_.add_volumes();
  volume.set_name("golden");
  volume.set_uid("u");
  Serve(10);
  ON_CALL(*connection_, GetVolume).WillByDefault(Return(volume));
  ASSERT_THAT(
      attacher_.Attach({.name = "golden", .uid = "u"}, absl::InfiniteFuture()),
      IsOk());
  EXPECT_THAT(Look(), IsEmpty());
  EXPECT_EQ(Count(Cause::kDeadDevice), 0);
}

TEST_F(VolumeWatchTest, KnowsNothingWhileTheServerIsAway) {
  Add("v", 100);
  Serve(95);
  Look();
  ON_CALL(*connection_, GetServerInfo)
      .WillByDefault(Return(absl::UnavailableError("no route")));
  EXPECT_THAT(Look(), AllOf(HasSubstr("requests_fail"), HasSubstr("no route")));
  EXPECT_THAT(Look(), IsEmpty());
  EXPECT_FALSE(watch_.summary().reached);
  EXPECT_THAT(watch_.summary().classes, IsEmpty());
  Serve(95);
  // The volume is as it was before.
  EXPECT_THAT(Look(), AllOf(HasSubstr("requests_succeed"),
                            ::testing::Not(HasSubstr("memory_low"))));
  EXPECT_TRUE(watch_.summary().reached);
}

}  // namespace
}  // namespace ramvol::csi_driver
