// A snapshot as CSI describes it.
#ifndef RAMVOL_CSI_SNAPSHOT_MESSAGE_H_
#define RAMVOL_CSI_SNAPSHOT_MESSAGE_H_

#include "csi.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {

// Fills `out`, which is empty.
void DescribeSnapshot(const v1::Snapshot& snapshot, ::csi::v1::Snapshot* out);

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_SNAPSHOT_MESSAGE_H_
