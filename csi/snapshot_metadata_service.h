// The SnapshotMetadata service of CSI: which blocks of a snapshot hold
// something or have changed, for backups.
#ifndef RAMVOL_CSI_SNAPSHOT_METADATA_SERVICE_H_
#define RAMVOL_CSI_SNAPSHOT_METADATA_SERVICE_H_

#include <cstdint>

#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "csi/calls.h"
#include "csi/volumes.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"
#include "grpcpp/support/sync_stream.h"

namespace ramvol::csi_driver {

// Ranges are of variable length, as runs of blocks are, which takes much less
// than an entry for each block.
//
// Borrows all that it is given. Thread-safe.
class SnapshotMetadataService final
    : public ::csi::v1::SnapshotMetadata::Service {
 public:
  // Most ranges in an answer, also if the request allows more.
  static constexpr int32_t kMaxRanges = 4096;

  SnapshotMetadataService(const Volumes* volumes, Calls* calls)
      : volumes_(volumes), calls_(calls) {}

  grpc::Status GetMetadataAllocated(
      grpc::ServerContext* context,
      const ::csi::v1::GetMetadataAllocatedRequest* request,
      grpc::ServerWriter<::csi::v1::GetMetadataAllocatedResponse>* writer)
      override;
  grpc::Status GetMetadataDelta(
      grpc::ServerContext* context,
      const ::csi::v1::GetMetadataDeltaRequest* request,
      grpc::ServerWriter<::csi::v1::GetMetadataDeltaResponse>* writer) override;

 private:
  const Volumes* const volumes_;
  Calls* const calls_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_SNAPSHOT_METADATA_SERVICE_H_
