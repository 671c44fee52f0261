// The version of all programs in this repository.
#ifndef RAMVOL_BASE_VERSION_H_
#define RAMVOL_BASE_VERSION_H_

#include <string_view>

namespace ramvol {

// Semantic versioning; CHANGELOG.md says what each version changed.
inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace ramvol

#endif  // RAMVOL_BASE_VERSION_H_
