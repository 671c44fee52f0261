// Makes untrusted text safe for a terminal.
#ifndef RAMVOL_BASE_PRINTABLE_H_
#define RAMVOL_BASE_PRINTABLE_H_

#include <string>
#include <string_view>

namespace ramvol {

// Escapes whatever could move the cursor, change the terminal's state, hide
// text or reverse its order. Control characters and invalid UTF-8 become \n,
// \t or \x1b; invisible characters become \u202e. All else stays, even
// backslashes: the result is for reading, not for parsing.
std::string Printable(std::string_view text);

// `text` as it is when it consists of letters, digits and -._:/@+ only. Else
// Printable(text) in quotation marks, with those and backslashes inside
// escaped.
std::string Quoted(std::string_view text);

}  // namespace ramvol

#endif  // RAMVOL_BASE_PRINTABLE_H_
