// Quantiles of what a DurationHistogram recorded.
#ifndef RAMVOL_SERVER_STATUS_QUANTILE_H_
#define RAMVOL_SERVER_STATUS_QUANTILE_H_

#include "base/duration_histogram.h"

namespace ramvol::status {

// Returns the quantile `q` (0 to 1), in seconds, of what was recorded between
// two snapshots; NaN if nothing was. Interpolates within a bucket, as
// Prometheus does.
double Quantile(const DurationHistogram::Snapshot& before,
                const DurationHistogram::Snapshot& after, double q);

}  // namespace ramvol::status

#endif  // RAMVOL_SERVER_STATUS_QUANTILE_H_
