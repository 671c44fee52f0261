// Metrics of ramvol-csi. docs/csi.md lists them.
#ifndef RAMVOL_CSI_CSI_METRICS_H_
#define RAMVOL_CSI_CSI_METRICS_H_

#include <vector>

#include "csi/calls.h"
#include "csi/device_attacher.h"
#include "csi/leftovers.h"
#include "csi/node_volumes.h"
#include "csi/volume_watch.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace ramvol::csi_driver {

// Borrows what it is given. Thread-safe.
class CsiMetrics final : public prometheus::Collectable {
 public:
  CsiMetrics(const Calls* calls, const DeviceAttacher* attacher,
             const NodeVolumes* volumes, const Leftovers* leftovers,
             const VolumeWatch* watch)
      : calls_(calls),
        attacher_(attacher),
        volumes_(volumes),
        leftovers_(leftovers),
        watch_(watch) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Calls* const calls_;
  const DeviceAttacher* const attacher_;
  const NodeVolumes* const volumes_;
  const Leftovers* const leftovers_;
  const VolumeWatch* const watch_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_CSI_METRICS_H_
