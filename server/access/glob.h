// Patterns of text.
#ifndef RAMVOL_SERVER_ACCESS_GLOB_H_
#define RAMVOL_SERVER_ACCESS_GLOB_H_

#include <string_view>

namespace ramvol::access {

// Whether `text` fits `pattern`, in which "*" stands for any bytes, or none,
// and "?" for one. Takes at most as many steps as the product of both lengths,
// and no memory.
bool Fits(std::string_view pattern, std::string_view text);

}  // namespace ramvol::access

#endif  // RAMVOL_SERVER_ACCESS_GLOB_H_
