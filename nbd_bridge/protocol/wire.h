// Reads and writes big-endian numbers in byte strings.
#ifndef RAMVOL_NBD_BRIDGE_PROTOCOL_WIRE_H_
#define RAMVOL_NBD_BRIDGE_PROTOCOL_WIRE_H_

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace ramvol::nbd {

// Writes `value` to out[0 .. sizeof(T)) and returns the end of it.
template <std::unsigned_integral T>
char* Put(char* out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    out[i] = static_cast<char>(value >> (8 * (sizeof(T) - 1 - i)));
  }
  return out + sizeof(T);
}

template <std::unsigned_integral T>
T Get(const char* in) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value << 8 | static_cast<unsigned char>(in[i]));
  }
  return value;
}

// Appends fields to a string.
class WireWriter {
 public:
  template <std::unsigned_integral T>
  WireWriter& Number(T value) {
    char bytes[sizeof(T)];
    Put(bytes, value);
    text_.append(bytes, sizeof(T));
    return *this;
  }
  WireWriter& Bytes(absl::string_view bytes) {
    text_.append(bytes.data(), bytes.size());
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// Takes fields from the front of a string, which must outlive it. Each call
// returns false, and takes nothing, when the string is too short.
class WireReader {
 public:
  explicit WireReader(absl::string_view text) : rest_(text) {}

  template <std::unsigned_integral T>
  [[nodiscard]] bool Number(T* value) {
    if (rest_.size() < sizeof(T)) return false;
    *value = Get<T>(rest_.data());
    rest_.remove_prefix(sizeof(T));
    return true;
  }
  [[nodiscard]] bool Bytes(size_t count, absl::string_view* bytes) {
    if (rest_.size() < count) return false;
    *bytes = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return true;
  }
  bool empty() const { return rest_.empty(); }

 private:
  absl::string_view rest_;
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_PROTOCOL_WIRE_H_
