// The text form of a volume's uid in messages.
#ifndef RAMVOL_SERVER_SERVICE_UID_H_
#define RAMVOL_SERVER_SERVICE_UID_H_

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

namespace ramvol::service {

// 16 hexadecimal digits.
inline std::string FormatUid(uint64_t uid) {
  return absl::StrCat(absl::Hex(uid, absl::kZeroPad16));
}

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_UID_H_
