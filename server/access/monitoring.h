// Who may see metrics and the status page, which tell of all volumes.
#ifndef RAMVOL_SERVER_ACCESS_MONITORING_H_
#define RAMVOL_SERVER_ACCESS_MONITORING_H_

#include <string_view>

#include "server/access/authority.h"

namespace ramvol::access {

// Whether whoever sends an HTTP request with this Authorization field, or "",
// may see all volumes and snapshots: by the token in "Bearer TOKEN" or, as
// browsers have it, "Basic " and the base64 of "ANYONE:TOKEN". Without a policy
// everyone may. Counts the decision. Thread-safe.
bool MayMonitor(const Authority& authority, std::string_view authorization);

}  // namespace ramvol::access

#endif  // RAMVOL_SERVER_ACCESS_MONITORING_H_
