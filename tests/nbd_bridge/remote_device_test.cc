#include "nbd_bridge/remote_device.h"

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/block/block_device.h"
#include "base/block/exports.h"
#include "base/event_log.h"
#include "base/listen_address.h"
#include "base/mutex.h"
#include "base/reason.h"
#include "client/client.h"
#include "client/mocks/mock_client_connection.h"
#include "client/mocks/mock_volume_connection.h"
#include "client/options.h"
#include "client/remote_volume.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/eventually.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_server.h"

namespace ramvol::nbd {
namespace {

using ::ramvol::testing::Eventually;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TempDir;
using ::ramvol::testing::TestServer;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::NiceMock;

constexpr uint64_t kSize = uint64_t{256} << 20;

// Waits for one call.
class Waiter final : public block::Completion {
 public:
  void Done(absl::Status status) override {
    MutexLock lock(&mu_);
    status_ = std::move(status);
    changed_.SignalAll();
  }
  absl::Status Wait() {
    MutexLock lock(&mu_);
    while (!status_.has_value()) changed_.Wait(&mu_);
    return *status_;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  std::optional<absl::Status> status_ ABSL_GUARDED_BY(mu_);
};

absl::Status Write(block::BlockDevice& device, uint64_t offset,
                   const std::string& data) {
  Waiter waiter;
  device.Write(offset, absl::MakeConstSpan(data.data(), data.size()), &waiter);
  return waiter.Wait();
}

absl::StatusOr<std::string> Read(block::BlockDevice& device, uint64_t offset,
                                 size_t length) {
  std::string data(length, '?');
  Waiter waiter;
  device.Read(offset, absl::MakeSpan(data.data(), data.size()), &waiter);
  absl::Status status = waiter.Wait();
  if (!status.ok()) return status;
  return data;
}

absl::Status Flush(block::BlockDevice& device) {
  Waiter waiter;
  device.Flush(&waiter);
  return waiter.Wait();
}

absl::StatusOr<std::vector<block::Extent>> Extents(block::BlockDevice& device,
                                                   uint64_t offset,
                                                   uint64_t length,
                                                   size_t max_extents) {
  std::vector<block::Extent> extents;
  Waiter waiter;
  device.GetExtents(offset, length, max_extents, &extents, &waiter);
  absl::Status status = waiter.Wait();
  if (!status.ok()) return status;
  return extents;
}

auto IsExtent(uint64_t offset, uint64_t length, bool hole) {
  return ::testing::AllOf(Field(&block::Extent::offset, offset),
                          Field(&block::Extent::length, length),
                          Field(&block::Extent::hole, hole));
}

// A server on a Unix socket, so that another can take its place.
class RemoteDeviceTest : public ::testing::Test {
 protected:
  RemoteDeviceTest() {
    StartServer("disk");
    Connect(/*channels=*/2);
  }

  // A new server, in place of the last one. Clients reach it only once it has
  // the volume, if there is one to make.
  void StartServer(const std::string& volume = "") {
    server_.reset();
    const std::string path = folder_.path() + "/new";
    auto options = testing::TestServerOptions();
    options.listen = {{.host = "", .port = 0, .unix_path = path}};
    server_ = std::make_unique<TestServer>(options);
    if (!volume.empty()) server_->CreateVolume(volume, kSize);
    ASSERT_EQ(rename(path.c_str(), (folder_.path() + "/s").c_str()), 0);
  }

  void Connect(int channels) {
    ClientOptions options;
    options.server = "unix:" + folder_.path() + "/s";
    options.channels = channels;
    options.reconnect_timeout = absl::Minutes(2);
    exports_ = std::make_unique<RemoteExports>(Client(options));
  }

  std::unique_ptr<block::BlockDevice> Open() {
    auto device = exports_->Open("disk", "unix");
    EXPECT_THAT(device, IsOk());
    return *std::move(device);
  }

  void Delete() {
    v1::DeleteVolumeRequest request;
    request.set_name("disk");
    request.set_force(true);
    ASSERT_THAT(TestServer::Call(&v1::VolumeService::Stub::DeleteVolume,
                                 server_->volumes(), request),
                IsOk());
  }

  const TempDir folder_ = TempDir::ForSockets();
  std::unique_ptr<TestServer> server_;
  std::unique_ptr<RemoteExports> exports_;
};

TEST_F(RemoteDeviceTest, EveryCall) {
  const auto device = Open();
  EXPECT_EQ(device->size_bytes(), kSize);
  EXPECT_FALSE(device->read_only());
  EXPECT_FALSE(device->synchronous());
  EXPECT_THAT(Write(*device, 12345, "hello"), IsOk());
  EXPECT_THAT(Flush(*device), IsOk());
  EXPECT_EQ(*Read(*device, 12344, 7), std::string("\0hello\0", 7));
  Waiter trimmed;
  device->Trim(0, kSize, &trimmed);
  EXPECT_THAT(trimmed.Wait(), IsOk());
  EXPECT_EQ(*Read(*device, 12345, 5), std::string(5, '\0'));
  Waiter zeroed;
  device->WriteZeroes(8192, 4096, /*no_hole=*/true, &zeroed);
  EXPECT_THAT(zeroed.Wait(), IsOk());
  EXPECT_THAT(*Extents(*device, 0, 65536, 100),
              ElementsAre(IsExtent(0, 8192, true), IsExtent(8192, 4096, false),
                          IsExtent(12288, 65536 - 12288, true)));
}

TEST_F(RemoteDeviceTest, LargestDataGoesInOneCall) {
  const auto device = Open();
  std::string data(block::BlockDevice::kMaxTransferBytes, ' ');
  for (size_t i = 0; i < data.size(); ++i) {
    data[i] = static_cast<char>(i * 2654435761U >> 13);
  }
  EXPECT_THAT(Write(*device, 4097, data), IsOk());
  const auto read = Read(*device, 4097, data.size());
  ASSERT_THAT(read, IsOk());
  EXPECT_TRUE(*read == data);
}

TEST_F(RemoteDeviceTest, ExtentsAreBounded) {
  const auto device = Open();
  for (uint64_t i = 0; i < 10; ++i) {
    ASSERT_THAT(Write(*device, i * 8192, std::string(4096, 'x')), IsOk());
  }
  EXPECT_THAT(
      *Extents(*device, 100, 65536, 2),
      ElementsAre(IsExtent(100, 3996, false), IsExtent(4096, 4096, true)));
  EXPECT_THAT(*Extents(*device, 100, 65536, 1),
              ElementsAre(IsExtent(100, 3996, false)));
  EXPECT_EQ(Extents(*device, 0, kSize, SIZE_MAX)->size(), 20);
}

TEST_F(RemoteDeviceTest, SizeAndReadOnlyAreThoseOfTheOpening) {
  const auto before = Open();
  v1::UpdateVolumeRequest request;
  request.set_name("disk");
  request.mutable_volume()->set_size_bytes(kSize * 2);
  request.mutable_volume()->set_read_only(true);
  request.mutable_update_mask()->add_paths("size_bytes");
  request.mutable_update_mask()->add_paths("read_only");
  ASSERT_THAT(TestServer::Call(&v1::VolumeService::Stub::UpdateVolume,
                               server_->volumes(), request),
              IsOk());
  EXPECT_EQ(before->size_bytes(), kSize);
  EXPECT_FALSE(before->read_only());
  EXPECT_THAT(Write(*before, 0, "x"),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
  const auto after = Open();
  EXPECT_EQ(after->size_bytes(), kSize * 2);
  EXPECT_TRUE(after->read_only());
}

TEST_F(RemoteDeviceTest, EachDeviceCountsAsOneClient) {
  auto first = Open();
  const auto second = Open();
  EXPECT_THAT(Flush(*first), IsOk());
  EXPECT_EQ(server_->AttachedClients("disk"), 2);
  first.reset();
  EXPECT_TRUE(
      Eventually([&] { return server_->AttachedClients("disk") == 1; }));
}

TEST_F(RemoteDeviceTest, ADeletedVolumeIsNotFound) {
  Connect(/*channels=*/1);  // No other may be opening meanwhile.
  const auto device = Open();
  ASSERT_THAT(Write(*device, 0, "x"), IsOk());
  Delete();
  EXPECT_THAT(Write(*device, 0, "x"), StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(exports_->Open("disk", "unix"),
              StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_F(RemoteDeviceTest, AVolumeThatIsGoneAfterARestartIsAnError) {
  const auto device = Open();
  ASSERT_THAT(Write(*device, 0, "x"), IsOk());
  StartServer();
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(Read(*device, 0, 1),
                StatusIs(absl::StatusCode::kAborted, HasSubstr("gone")));
  }
}

TEST_F(RemoteDeviceTest, ANewVolumeOfTheNameDoesNotTakeItsPlace) {
  const auto device = Open();
  ASSERT_THAT(Write(*device, 0, "x"), IsOk());
  StartServer("disk");
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(Read(*device, 0, 1),
                StatusIs(absl::StatusCode::kAborted, HasSubstr("replaced")));
    EXPECT_THAT(Write(*device, 0, "y"),
                StatusIs(absl::StatusCode::kAborted, _));
    EXPECT_THAT(Flush(*device), StatusIs(absl::StatusCode::kAborted, _));
    EXPECT_THAT(Extents(*device, 0, 4096, 1),
                StatusIs(absl::StatusCode::kAborted, _));
  }
  EXPECT_EQ(*Read(*Open(), 0, 1), std::string(1, '\0'));
}

TEST_F(RemoteDeviceTest, ExportsAreTheVolumes) {
  server_->CreateVolume("another", 5);
  const auto page = exports_->List("");
  ASSERT_THAT(page, IsOk());
  EXPECT_THAT(page->exports,
              ElementsAre(Field(&block::ExportInfo::name, "another"),
                          Field(&block::ExportInfo::name, "disk")));
  EXPECT_EQ(page->exports[0].size_bytes, 5);
  EXPECT_EQ(page->next, "");
  const auto found = exports_->Find("disk");
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->size_bytes, kSize);
  for (const std::string& name :
       {std::string(), std::string("nope"), std::string("No/Name"),
        std::string("\xff\xfe"), std::string(1, '\0'),
        std::string(4096, 'x')}) {
    EXPECT_THAT(exports_->Find(name), StatusIs(absl::StatusCode::kNotFound, _))
        << name;
    EXPECT_THAT(exports_->Open(name, "unix"),
                StatusIs(absl::StatusCode::kNotFound, _))
        << name;
  }
}

TEST_F(RemoteDeviceTest, ServesSnapshotsAndWhatHasChanged) {
  const auto device = Open();
  ASSERT_THAT(Write(*device, 0, std::string(65536, 'x')), IsOk());
  v1::CreateSnapshotsRequest request;
  for (const char* name : {"mon", "tue"}) {
    request.clear_snapshots();
    auto& one = *request.add_snapshots();
    one.set_volume("disk");
    one.set_name(name);
    ASSERT_THAT(TestServer::Call(&v1::VolumeService::Stub::CreateSnapshots,
                                 server_->volumes(), request),
                IsOk());
  }
  ASSERT_THAT(Write(*device, 65536, std::string(65536, 'y')), IsOk());

  std::vector<std::string> names;
  std::string from;
  do {
    const auto page = exports_->List(from);
    ASSERT_THAT(page, IsOk());
    for (const block::ExportInfo& info : page->exports)
      names.push_back(info.name);
    from = page->next;
  } while (!from.empty());
  EXPECT_THAT(names, ElementsAre("disk", "@mon", "@tue"));
  EXPECT_THAT(*exports_->ListSnapshots("disk", 10), ElementsAre("mon", "tue"));
  EXPECT_THAT(*exports_->ListSnapshots("disk", 1), ElementsAre("mon"));
  EXPECT_THAT(*exports_->ListSnapshots("@mon", 10), ElementsAre("tue"));
  EXPECT_TRUE(exports_->Find("@mon")->read_only);

  std::vector<block::Extent> extents;
  Waiter listed;
  const std::string uid = exports_->Find("@mon")->uid;
  device->GetChanges(uid, 4096, 1 << 20, 100, &extents, &listed);
  ASSERT_THAT(listed.Wait(), IsOk());
  ASSERT_EQ(extents.size(), 3u);
  EXPECT_FALSE(extents[0].changed);
  EXPECT_EQ(extents[1].offset, 65536u);
  EXPECT_EQ(extents[1].length, 65536u);
  EXPECT_TRUE(extents[1].changed);
  Waiter none;
  device->GetChanges("00000000deadbeef", 0, 4096, 100, &extents, &none);
  EXPECT_THAT(none.Wait(), StatusIs(absl::StatusCode::kInvalidArgument, _))
      << "not NOT_FOUND, which would end the connection";

  auto snapshot = exports_->Open("@mon", "unix");
  ASSERT_THAT(snapshot, IsOk());
  EXPECT_TRUE((*snapshot)->read_only());
  EXPECT_EQ(*Read(**snapshot, 65536, 4), std::string(4, '\0'));
}

TEST(RemoteDeviceStatusTest, CodesMeanWhatBlockDeviceSays) {
  using absl::StatusCode;
  const std::pair<absl::Status, StatusCode> cases[] = {
      {WithReason(absl::NotFoundError(""), reason::kVolumeDeleted),
       StatusCode::kNotFound},
      {WithReason(absl::NotFoundError(""), reason::kVolumeNotFound),
       StatusCode::kAborted},
      {WithReason(absl::NotFoundError(""), reason::kSnapshotNotFound),
       StatusCode::kInvalidArgument},
      {WithReason(absl::AbortedError(""), reason::kVolumeReplaced),
       StatusCode::kAborted},
      {WithReason(absl::ResourceExhaustedError(""), reason::kServerMemoryLimit),
       StatusCode::kResourceExhausted},
      {WithReason(absl::ResourceExhaustedError(""), reason::kVolumeMemoryLimit),
       StatusCode::kResourceExhausted},
      {absl::ResourceExhaustedError("too many streams"),
       StatusCode::kUnavailable},
      {WithReason(absl::FailedPreconditionError(""), reason::kVolumeReadOnly),
       StatusCode::kFailedPrecondition},
      {WithReason(absl::FailedPreconditionError(""), reason::kWindowExceeded),
       StatusCode::kInternal},
      {absl::DataLossError(""), StatusCode::kDataLoss},
      {absl::UnavailableError(""), StatusCode::kUnavailable},
  };
  for (const auto& [status, code] : cases) {
    auto mock = std::make_shared<NiceMock<MockVolumeConnection>>();
    EXPECT_CALL(*mock, WriteAsync).WillOnce(OperationGives(status));
    EXPECT_CALL(*mock, ExtentsAsync(0, 10, 3, _)).WillOnce(ExtentsGive(status));
    std::vector<std::string> log;
    RemoteDevice device("disk", RemoteVolume(mock),
                        [&](Event, const LogFields& fields) {
                          log.emplace_back(fields.volume);
                        });
    EXPECT_THAT(Write(device, 0, "x"), StatusIs(code, _)) << status;
    EXPECT_THAT(Extents(device, 0, 10, 3), StatusIs(code, _)) << status;
    EXPECT_THAT(log, ElementsAre("disk"));
  }
}

TEST(RemoteDeviceStatusTest, EachBeginningOfFailuresIsLogged) {
  auto mock = std::make_shared<NiceMock<MockVolumeConnection>>();
  const absl::Status lost = absl::UnavailableError("lost");
  EXPECT_CALL(*mock, WriteAsync)
      .WillOnce(OperationGives(absl::OkStatus()))
      .WillOnce(OperationGives(lost))
      .WillOnce(OperationGives(lost))
      .WillOnce(OperationGives(absl::OkStatus()))
      .WillOnce(OperationGives(absl::OkStatus()))
      .WillOnce(OperationGives(lost))
      .WillOnce(OperationGives(absl::DataLossError("bad")));
  std::vector<std::string> log;
  RemoteDevice device(
      "disk", RemoteVolume(mock), [&](Event event, const LogFields& fields) {
        log.push_back(absl::StrCat(std::string(TraitsOf(event).name), " ",
                                   std::string(fields.message)));
      });
  for (int i = 0; i < 7; ++i) Write(device, 0, "x").IgnoreError();
  EXPECT_THAT(log, ElementsAre(HasSubstr("lost"), HasSubstr("requests_succeed"),
                               HasSubstr("lost"), HasSubstr("bad")));
}

}  // namespace
}  // namespace ramvol::nbd
