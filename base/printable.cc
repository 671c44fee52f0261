#include "base/printable.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"

namespace ramvol {
namespace {

struct Range {
  uint32_t first;
  uint32_t last;
};

// Control characters, and characters that only change how others are shown.
constexpr Range kHidden[] = {
    {0x00, 0x1F},     {0x7F, 0x9F},     {0xAD, 0xAD},     {0x61C, 0x61C},
    {0x180E, 0x180E}, {0x200B, 0x200F}, {0x2028, 0x202E}, {0x2060, 0x206F},
    {0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF}, {0xFFF0, 0xFFFB}, {0xE0000, 0xE0FFF}};

bool IsHidden(uint32_t code) {
  return std::any_of(std::begin(kHidden), std::end(kHidden),
                     [code](const Range& range) {
                       return range.first <= code && code <= range.last;
                     });
}

bool Continues(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

// Decodes the character at the front of `text`. Returns its length in bytes, 0
// when it is not valid UTF-8 (RFC 3629, so no overlong forms or surrogates).
size_t TakeCharacter(std::string_view text, uint32_t* code) {
  static constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const auto lead = static_cast<uint8_t>(text[0]);
  *code = lead;
  if (lead < 0x80) return 1;
  const size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || bytes > text.size()) return 0;
  *code = lead & (0xFFU >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) {
    if (!Continues(text[i])) return 0;
    *code = *code << 6 | (static_cast<uint8_t>(text[i]) & 0x3FU);
  }
  const bool surrogate = *code >= 0xD800 && *code <= 0xDFFF;
  return *code < kLeast[bytes] || *code > 0x10FFFF || surrogate ? 0 : bytes;
}

std::string Escaped(uint32_t code) {
  if (code == '\n') return "\\n";
  if (code == '\t') return "\\t";
  if (code == '\r') return "\\r";
  if (code < 0x80) return absl::StrFormat("\\x%02x", code);
  return absl::StrFormat("\\u%04x", code);
}

bool IsPlain(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         absl::StrContains("-._:/@+", c);
}

}  // namespace

std::string Printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    uint32_t code = 0;
    const size_t bytes = TakeCharacter(text, &code);
    if (bytes == 0) {
      out += absl::StrFormat("\\x%02x", static_cast<uint8_t>(text[0]));
    } else if (IsHidden(code)) {
      out += Escaped(code);
    } else {
      out += text.substr(0, bytes);
    }
    text.remove_prefix(std::max<size_t>(bytes, 1));
  }
  return out;
}

std::string Quoted(std::string_view text) {
  if (std::all_of(text.begin(), text.end(), IsPlain)) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return Printable(out + '"');
}

}  // namespace ramvol
