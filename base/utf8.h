// Decodes UTF-8.
#ifndef RAMVOL_BASE_UTF8_H_
#define RAMVOL_BASE_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ramvol {

// Sets `code` to the character that `text`, which is not empty, begins with,
// and returns how many bytes it has; 0 when it is no UTF-8.
size_t TakeUtf8(std::string_view text, uint32_t* code);

}  // namespace ramvol

#endif  // RAMVOL_BASE_UTF8_H_
