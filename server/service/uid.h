// The text form of a volume's uid in messages.
#ifndef RAMVOL_SERVER_SERVICE_UID_H_
#define RAMVOL_SERVER_SERVICE_UID_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace ramvol::service {

// 16 hexadecimal digits.
inline std::string FormatUid(uint64_t uid) {
  return absl::StrCat(absl::Hex(uid, absl::kZeroPad16));
}

// nullopt when `text` is no uid.
inline std::optional<uint64_t> ParseUid(const std::string& text) {
  uint64_t uid = 0;
  if (text.size() != 16 || !absl::SimpleHexAtoi(text, &uid)) {
    return std::nullopt;
  }
  return uid;
}

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_UID_H_
