#include "csi/snapshot_message.h"

#include "csi.pb.h"
#include "csi/volume_handle.h"
#include "csi/volumes.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {

void DescribeSnapshot(const v1::Snapshot& snapshot, ::csi::v1::Snapshot* out) {
  out->set_snapshot_id(HandleOf(snapshot));
  out->set_size_bytes(snapshot.size_bytes());
  out->set_source_volume_id(LabelOf(snapshot, label::kSource));
  out->set_group_snapshot_id(LabelOf(snapshot, label::kGroup));
  *out->mutable_creation_time() = snapshot.create_time();
  out->set_ready_to_use(snapshot.state() != v1::VOLUME_STATE_DAMAGED);
}

}  // namespace ramvol::csi_driver
