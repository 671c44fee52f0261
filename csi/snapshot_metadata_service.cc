#include "csi/snapshot_metadata_service.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "csi/calls.h"
#include "csi/snapshot_blocks.h"
#include "csi/volume_handle.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"
#include "grpcpp/support/sync_stream.h"

namespace ramvol::csi_driver {
namespace {

absl::Status CheckMaxResults(int32_t max_results) {
  if (max_results >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError("max_results is negative");
}

// An answer without ranges, as each begins.
template <typename Response>
Response Begin(const SnapshotBlocks& blocks) {
  Response response;
  response.set_block_metadata_type(::csi::v1::VARIABLE_LENGTH);
  response.set_volume_capacity_bytes(blocks.size_bytes());
  return response;
}

// Sends all ranges. If there is none, one answer says so.
template <typename Response>
absl::Status Send(SnapshotBlocks blocks, int32_t max_results,
                  grpc::ServerWriter<Response>* writer) {
  const absl::Status gone = absl::CancelledError("the caller is gone");
  const int32_t bound = SnapshotMetadataService::kMaxRanges;
  const int32_t most = max_results == 0 ? bound : std::min(max_results, bound);
  Response response = Begin<Response>(blocks);
  while (true) {
    const auto range = blocks.Next();
    if (!range.ok()) return range.status();
    if (!range->has_value()) break;
    if (response.block_metadata_size() == most) {
      if (!writer->Write(response)) return gone;
      response = Begin<Response>(blocks);
    }
    auto* const metadata = response.add_block_metadata();
    metadata->set_byte_offset((*range)->offset);
    metadata->set_size_bytes((*range)->length);
  }
  return writer->Write(response) ? absl::OkStatus() : gone;
}

}  // namespace

grpc::Status SnapshotMetadataService::GetMetadataAllocated(
    grpc::ServerContext* context,
    const ::csi::v1::GetMetadataAllocatedRequest* request,
    grpc::ServerWriter<::csi::v1::GetMetadataAllocatedResponse>* writer) {
  const std::string& id = request->snapshot_id();
  // A stream takes as long as its reader does.
  return calls_->Run("GetMetadataAllocated", id, *context, [&](absl::Time) {
    absl::Status valid = CheckHandle("snapshot_id", id);
    if (valid.ok()) valid = CheckMaxResults(request->max_results());
    if (!valid.ok()) return valid;
    auto blocks =
        SnapshotBlocks::Allocated(*volumes_, id, request->starting_offset());
    if (!blocks.ok()) return blocks.status();
    return Send(*std::move(blocks), request->max_results(), writer);
  });
}

grpc::Status SnapshotMetadataService::GetMetadataDelta(
    grpc::ServerContext* context,
    const ::csi::v1::GetMetadataDeltaRequest* request,
    grpc::ServerWriter<::csi::v1::GetMetadataDeltaResponse>* writer) {
  const std::string& base = request->base_snapshot_id();
  const std::string& target = request->target_snapshot_id();
  return calls_->Run("GetMetadataDelta", target, *context, [&](absl::Time) {
    absl::Status valid = CheckHandle("base_snapshot_id", base);
    if (valid.ok()) valid = CheckHandle("target_snapshot_id", target);
    if (valid.ok()) valid = CheckMaxResults(request->max_results());
    if (!valid.ok()) return valid;
    auto blocks = SnapshotBlocks::Changed(*volumes_, base, target,
                                          request->starting_offset());
    if (!blocks.ok()) return blocks.status();
    return Send(*std::move(blocks), request->max_results(), writer);
  });
}

}  // namespace ramvol::csi_driver
