#include "base/utf8.h"

namespace ramvol {
namespace {

bool Continues(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

}  // namespace

size_t TakeUtf8(std::string_view text, uint32_t* code) {
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

}  // namespace ramvol
