#include "server/service/etag.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/reason.h"
#include "proto/status.h"

namespace ramvol::service {

absl::Status CheckEtag(std::string_view kind, const std::string& name,
                       const std::string& wanted, const std::string& actual) {
  if (wanted.empty() || wanted == actual) return absl::OkStatus();
  absl::Status status =
      WithReason(absl::AbortedError(absl::StrCat(
                     absl::string_view(kind.data(), kind.size()), " \"", name,
                     "\" has etag \"", actual, "\", not \"", wanted,
                     "\": it has changed since; get it again and decide anew")),
                 reason::kEtagMismatch);
  status = WithMetadata(std::move(status), std::string(kind), name);
  return WithMetadata(std::move(status), "etag", actual);
}

}  // namespace ramvol::service
