#include "base/reason.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace ramvol {
namespace {

constexpr std::string_view kReasonUrl = "ramvol/reason";
constexpr std::string_view kFieldUrl = "ramvol/field";

absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }

std::string Payload(const absl::Status& status, std::string_view url) {
  auto payload = status.GetPayload(ToAbsl(url));
  return payload.has_value() ? std::string(*payload) : std::string();
}

}  // namespace

absl::Status WithReason(absl::Status status, std::string_view reason) {
  status.SetPayload(ToAbsl(kReasonUrl), absl::Cord(ToAbsl(reason)));
  return status;
}

absl::Status InvalidField(std::string_view field, std::string_view message,
                          std::string_view reason) {
  absl::Status status =
      WithReason(absl::InvalidArgumentError(ToAbsl(message)), reason);
  status.SetPayload(ToAbsl(kFieldUrl), absl::Cord(ToAbsl(field)));
  return status;
}

bool HasReason(const absl::Status& status, std::string_view reason) {
  const auto payload = status.GetPayload(ToAbsl(kReasonUrl));
  return payload.has_value() && *payload == ToAbsl(reason);
}

std::string GetReason(const absl::Status& status) {
  return Payload(status, kReasonUrl);
}

std::string GetField(const absl::Status& status) {
  return Payload(status, kFieldUrl);
}

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(),
                         absl::StrCat(ToAbsl(context), ": ", status.message()));
  status.ForEachPayload(
      [&annotated](absl::string_view url, const absl::Cord& payload) {
        annotated.SetPayload(url, payload);
      });
  return annotated;
}

}  // namespace ramvol
