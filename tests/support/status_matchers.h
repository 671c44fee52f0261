// gMock matchers for absl::Status and StatusOr, which Abseil 20220623 lacks.
#ifndef RAMVOL_TESTS_SUPPORT_STATUS_MATCHERS_H_
#define RAMVOL_TESTS_SUPPORT_STATUS_MATCHERS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/reason.h"
#include "gmock/gmock.h"

namespace ramvol::testing {

inline const absl::Status& GetStatus(const absl::Status& status) {
  return status;
}
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& value) {
  return value.status();
}

MATCHER(IsOk, negation ? "is an error" : "is OK") {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).ok();
}

// A status of this code whose message matches.
MATCHER_P2(StatusIs, code, message,
           "is " + absl::StatusCodeToString(code) + " with the right message") {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).code() == code &&
         ::testing::ExplainMatchResult(
             message, std::string(GetStatus(arg).message()), result_listener);
}

// A status of this code and reason (base/reason.h).
MATCHER_P2(HasReason, code, reason,
           "is " + absl::StatusCodeToString(code) + ", reason " +
               std::string(reason)) {
  *result_listener << GetStatus(arg).ToString() << ", reason \""
                   << GetReason(GetStatus(arg)) << "\"";
  return GetStatus(arg).code() == code && GetReason(GetStatus(arg)) == reason;
}

// An INVALID_ARGUMENT about this field.
MATCHER_P(IsInvalidField, field,
          "is INVALID_ARGUMENT about " + std::string(field)) {
  *result_listener << GetStatus(arg).ToString() << ", field \""
                   << GetField(GetStatus(arg)) << "\"";
  return GetStatus(arg).code() == absl::StatusCode::kInvalidArgument &&
         GetField(GetStatus(arg)) == field;
}

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_SUPPORT_STATUS_MATCHERS_H_
