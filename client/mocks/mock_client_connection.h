// A ClientConnection for tests of code that uses the SDK.
//
//   auto connection = std::make_shared<MockClientConnection>();
//   EXPECT_CALL(*connection, StatVolume)
//       .WillOnce(Return(absl::NotFoundError("no volume \"x\"")));
//   ramvol::Client client(connection);
#ifndef RAMVOL_CLIENT_MOCKS_MOCK_CLIENT_CONNECTION_H_
#define RAMVOL_CLIENT_MOCKS_MOCK_CLIENT_CONNECTION_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client_connection.h"
#include "client/event_watch.h"
#include "client/image_stream.h"
#include "client/volume_connection.h"
#include "gmock/gmock.h"
#include "ramvol/v1/block_service.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol {

// A call without an expectation fails with UNIMPLEMENTED.
class MockClientConnection : public ClientConnection {
 public:
  MockClientConnection() {
    using ::testing::Return;
    const absl::Status unexpected =
        absl::UnimplementedError("the mock expects no such call");
    ON_CALL(*this, CreateVolume).WillByDefault(Return(unexpected));
    ON_CALL(*this, GetVolume).WillByDefault(Return(unexpected));
    ON_CALL(*this, ListVolumes).WillByDefault(Return(unexpected));
    ON_CALL(*this, UpdateVolume).WillByDefault(Return(unexpected));
    ON_CALL(*this, RenameVolume).WillByDefault(Return(unexpected));
    ON_CALL(*this, DeleteVolume).WillByDefault(Return(unexpected));
    ON_CALL(*this, StatVolume).WillByDefault(Return(unexpected));
    ON_CALL(*this, ListClients).WillByDefault(Return(unexpected));
    ON_CALL(*this, WatchEvents).WillByDefault([unexpected] {
      return absl::StatusOr<std::unique_ptr<EventWatch>>(unexpected);
    });
    ON_CALL(*this, Save).WillByDefault([unexpected] {
      return absl::StatusOr<std::unique_ptr<ImageReader>>(unexpected);
    });
    ON_CALL(*this, Restore).WillByDefault([unexpected] {
      return absl::StatusOr<std::unique_ptr<ImageWriter>>(unexpected);
    });
    ON_CALL(*this, CreateSnapshot).WillByDefault(Return(unexpected));
    ON_CALL(*this, CreateSnapshots).WillByDefault(Return(unexpected));
    ON_CALL(*this, GetSnapshot).WillByDefault(Return(unexpected));
    ON_CALL(*this, ListSnapshots).WillByDefault(Return(unexpected));
    ON_CALL(*this, DeleteSnapshot).WillByDefault(Return(unexpected));
    ON_CALL(*this, RevertVolume).WillByDefault(Return(unexpected));
    ON_CALL(*this, SaveAll).WillByDefault(Return(unexpected));
    ON_CALL(*this, WhoAmI).WillByDefault(Return(unexpected));
    ON_CALL(*this, CheckAccess).WillByDefault(Return(unexpected));
    ON_CALL(*this, GetServerInfo).WillByDefault(Return(unexpected));
    ON_CALL(*this, CheckHealth).WillByDefault(Return(unexpected));
    ON_CALL(*this, Open).WillByDefault(Return(unexpected));
  }

  MOCK_METHOD(absl::StatusOr<v1::Volume>, CreateVolume,
              (const v1::CreateVolumeRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::Volume>, GetVolume,
              (const v1::GetVolumeRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::ListVolumesResponse>, ListVolumes,
              (const v1::ListVolumesRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::Volume>, UpdateVolume,
              (const v1::UpdateVolumeRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::Volume>, RenameVolume,
              (const v1::RenameVolumeRequest& request), (override));
  MOCK_METHOD(absl::Status, DeleteVolume,
              (const v1::DeleteVolumeRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::VolumeStats>, StatVolume,
              (const v1::StatVolumeRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::ListClientsResponse>, ListClients,
              (const v1::ListClientsRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<std::unique_ptr<EventWatch>>, WatchEvents,
              (const v1::WatchEventsRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<std::unique_ptr<ImageReader>>, Save,
              (const v1::SaveRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<std::unique_ptr<ImageWriter>>, Restore,
              (const v1::CreateVolumeRequest& volume), (override));
  MOCK_METHOD(absl::StatusOr<v1::Snapshot>, CreateSnapshot,
              (const v1::CreateSnapshotRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::CreateSnapshotsResponse>, CreateSnapshots,
              (const v1::CreateSnapshotsRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::Snapshot>, GetSnapshot,
              (const v1::GetSnapshotRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::ListSnapshotsResponse>, ListSnapshots,
              (const v1::ListSnapshotsRequest& request), (override));
  MOCK_METHOD(absl::Status, DeleteSnapshot,
              (const v1::DeleteSnapshotRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::Volume>, RevertVolume,
              (const v1::RevertVolumeRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::SaveAllResponse>, SaveAll,
              (const v1::SaveAllRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::WhoAmIResponse>, WhoAmI, (), (override));
  MOCK_METHOD(absl::StatusOr<v1::CheckAccessResponse>, CheckAccess,
              (const v1::CheckAccessRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::GetServerInfoResponse>, GetServerInfo, (),
              (override));
  MOCK_METHOD(absl::Status, CheckHealth, (), (override));
  MOCK_METHOD(absl::StatusOr<std::shared_ptr<VolumeConnection>>, Open,
              (const std::string& name, const OpenOptions& options),
              (override));
  MOCK_METHOD(uint64_t, reconnects, (), (const, override));
  MOCK_METHOD(uint64_t, lost_streams, (), (const, override));
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_MOCKS_MOCK_CLIENT_CONNECTION_H_
