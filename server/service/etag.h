// The etag that guards a change.
#ifndef RAMVOL_SERVER_SERVICE_ETAG_H_
#define RAMVOL_SERVER_SERVICE_ETAG_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace ramvol::service {

// ABORTED, reason ETAG_MISMATCH, unless `wanted`, a request's etag, is empty or
// `actual`. `kind` is "volume" or "snapshot".
absl::Status CheckEtag(std::string_view kind, const std::string& name,
                       const std::string& wanted, const std::string& actual);

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_ETAG_H_
