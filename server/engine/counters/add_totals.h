// What the engine's statistics say of all volumes together.
#ifndef RAMVOL_SERVER_ENGINE_COUNTERS_ADD_TOTALS_H_
#define RAMVOL_SERVER_ENGINE_COUNTERS_ADD_TOTALS_H_

#include "server/engine/counters/totals.h"
#include "server/engine/types/stats.h"

namespace ramvol::engine {

// Enters what was counted up to now. The other fields of `stats` stay.
void AddTotals(const Totals& totals, EngineStats* stats);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_COUNTERS_ADD_TOTALS_H_
