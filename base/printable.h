// Other people's text for a terminal.
#ifndef RAMVOL_BASE_PRINTABLE_H_
#define RAMVOL_BASE_PRINTABLE_H_

#include <string>
#include <string_view>

namespace ramvol {

// `text` with everything escaped that would move the cursor, change the
// terminal, hide, or turn the order of what is shown: controls and what is no
// UTF-8 as \n, \t or \x1b, characters without a shape as \u202e. All else
// stays, backslashes too: it is for reading, not for parsing.
std::string Printable(std::string_view text);

// The same in quotation marks, with those and backslashes inside escaped, where
// it is not made of letters, digits and -._:/@+ only; else as it is.
std::string Quoted(std::string_view text);

}  // namespace ramvol

#endif  // RAMVOL_BASE_PRINTABLE_H_
