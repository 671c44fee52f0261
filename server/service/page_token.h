// The opaque page_token of ListVolumes.
#ifndef RAMVOL_SERVER_SERVICE_PAGE_TOKEN_H_
#define RAMVOL_SERVER_SERVICE_PAGE_TOKEN_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace ramvol::service {

// The token of the page after the volume `last_name`.
std::string MakePageToken(std::string_view last_name);

// The name in `token`; "" for the first page, whose token is "".
// INVALID_ARGUMENT when MakePageToken did not make the token.
absl::StatusOr<std::string> ParsePageToken(const std::string& token);

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_PAGE_TOKEN_H_
