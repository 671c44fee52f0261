// The opaque page_token of calls that list.
#ifndef RAMVOL_SERVER_SERVICE_PAGE_TOKEN_H_
#define RAMVOL_SERVER_SERVICE_PAGE_TOKEN_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace ramvol::service {

// The token of the page that begins after `last`, a name or a number.
std::string MakePageToken(std::string_view last);

// What MakePageToken made `token` of; "" for the first page, whose token is
// empty. INVALID_ARGUMENT when MakePageToken did not make it.
absl::StatusOr<std::string> ParsePageToken(const std::string& token);

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_PAGE_TOKEN_H_
