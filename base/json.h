// Writes JSON piece by piece.
#ifndef RAMVOL_BASE_JSON_H_
#define RAMVOL_BASE_JSON_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace ramvol {

// Returns `text` as a JSON string on one line, with its quotation marks. Bytes
// that are not valid UTF-8 become U+FFFD.
std::string JsonString(std::string_view text);

// Writes one JSON value. In an object, call Key before each value. Not
// thread-safe.
class JsonWriter {
 public:
  JsonWriter& BeginObject() { return Begin('{'); }
  JsonWriter& EndObject() { return End('}'); }
  JsonWriter& BeginArray() { return Begin('['); }
  JsonWriter& EndArray() { return End(']'); }
  JsonWriter& Key(std::string_view key);

  JsonWriter& String(std::string_view text) { return Add(JsonString(text)); }
  JsonWriter& Number(uint64_t value) { return Add(std::to_string(value)); }
  // Writes four significant digits, or null when `value` is not finite.
  JsonWriter& Decimal(double value);
  JsonWriter& Bool(bool value) { return Add(value ? "true" : "false"); }
  JsonWriter& Null() { return Add("null"); }

  std::string Take() { return std::move(out_); }

 private:
  JsonWriter& Begin(char bracket);
  JsonWriter& End(char bracket);
  JsonWriter& Add(std::string_view value);

  std::string out_;
  bool first_ = true;  // Whether the next value needs no comma before it.
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_JSON_H_
