#include "base/json.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_format.h"
#include "base/utf8.h"

namespace ramvol {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Returns the escape sequence of a character that JSON does not allow as it is,
// and "" for other characters.
std::string Escape(char c) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return static_cast<uint8_t>(c) < 0x20 || c == 0x7F
                 ? absl::StrFormat("\\u%04x", static_cast<uint8_t>(c))
                 : "";
  }
}

// Whether some readers see the end of a line in the character.
bool IsLineSeparator(uint32_t code) {
  return code == 0x85 || code == 0x2028 || code == 0x2029;
}

}  // namespace

std::string JsonString(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    uint32_t code = 0;
    const size_t bytes = TakeUtf8(text, &code);
    const std::string escaped = bytes == 1 ? Escape(text[0]) : "";
    if (bytes == 0) {
      out += kReplacement;
    } else if (!escaped.empty()) {
      out += escaped;
    } else if (IsLineSeparator(code)) {
      out += absl::StrFormat("\\u%04x", code);
    } else {
      out += text.substr(0, bytes);
    }
    text.remove_prefix(std::max<size_t>(bytes, 1));
  }
  return out + '"';
}

JsonWriter& JsonWriter::Key(std::string_view key) {
  Add(JsonString(key));
  out_ += ':';
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::Decimal(double value) {
  return std::isfinite(value) ? Add(absl::StrFormat("%.4g", value)) : Null();
}

JsonWriter& JsonWriter::Begin(char bracket) {
  Add({&bracket, 1});
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::End(char bracket) {
  out_ += bracket;
  first_ = false;
  return *this;
}

JsonWriter& JsonWriter::Add(std::string_view value) {
  if (!first_) out_ += ',';
  first_ = false;
  out_ += value;
  return *this;
}

}  // namespace ramvol
