// A command-line flag for sizes.
#ifndef RAMVOL_BASE_SIZE_FLAG_H_
#define RAMVOL_BASE_SIZE_FLAG_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "base/size.h"

namespace ramvol {

// Takes what ParseSize takes: "2G", "512M", "1073741824".
struct SizeFlag {
  uint64_t bytes = 0;
};

inline bool AbslParseFlag(absl::string_view text, SizeFlag* flag,
                          std::string* error) {
  auto size = ParseSize({text.data(), text.size()});
  if (!size.ok()) {
    *error = std::string(size.status().message());
    return false;
  }
  flag->bytes = *size;
  return true;
}

inline std::string AbslUnparseFlag(SizeFlag flag) {
  return FormatExactSize(flag.bytes);
}

}  // namespace ramvol

#endif  // RAMVOL_BASE_SIZE_FLAG_H_
