// Parses the query of a URL.
#ifndef RAMVOL_SERVER_STATUS_HTTP_QUERY_H_
#define RAMVOL_SERVER_STATUS_HTTP_QUERY_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace ramvol::status {

// Parses "a=1&b=x%20y" into {{"a", "1"}, {"b", "x y"}}. Of several values with
// one name, the last counts. Malformed percent encodings stay as they are.
std::map<std::string, std::string, std::less<>> ParseHttpQuery(
    std::string_view query);

// Returns the number called `name`, or `otherwise` if the query has none.
// INVALID_ARGUMENT unless it is a number from 0 to `most`.
absl::StatusOr<uint64_t> NumberOf(
    const std::map<std::string, std::string, std::less<>>& query,
    std::string_view name, uint64_t otherwise, uint64_t most);

}  // namespace ramvol::status

#endif  // RAMVOL_SERVER_STATUS_HTTP_QUERY_H_
