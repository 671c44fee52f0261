#include "server/access/monitoring.h"

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "server/access/identity.h"

namespace ramvol::access {
namespace {

constexpr absl::string_view kBearer = "Bearer ";
constexpr absl::string_view kBasic = "Basic ";

// "" for what holds none, which is no token.
std::string TokenIn(absl::string_view authorization) {
  if (absl::StartsWithIgnoreCase(authorization, kBearer)) {
    return std::string(authorization.substr(kBearer.size()));
  }
  if (!absl::StartsWithIgnoreCase(authorization, kBasic)) return "";
  std::string pair;
  if (!absl::Base64Unescape(authorization.substr(kBasic.size()), &pair)) {
    return "";
  }
  const size_t colon = pair.find(':');
  return colon == std::string::npos ? "" : pair.substr(colon + 1);
}

}  // namespace

bool MayMonitor(const Authority& authority, std::string_view authorization) {
  if (!authority.has_policy()) return true;
  Identity identity;
  if (!authorization.empty()) {
    const std::string token =
        TokenIn({authorization.data(), authorization.size()});
    if (!authority.AddToken(token, &identity).ok()) return false;
  }
  const bool sees_all = authority.SubjectOf(identity)->sees_all();
  authority.Count(sees_all               ? Decision::kAllowed
                  : identity.anonymous() ? Decision::kUnauthenticated
                                         : Decision::kDenied);
  return sees_all;
}

}  // namespace ramvol::access
