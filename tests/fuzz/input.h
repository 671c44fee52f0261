// Taking numbers from a fuzzer's input.
#ifndef RAMVOL_TESTS_FUZZ_INPUT_H_
#define RAMVOL_TESTS_FUZZ_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ramvol::testing {

// Reads from the front; past the end everything is 0. Borrows the bytes.
class Input {
 public:
  Input(const uint8_t* data, size_t size)
      : rest_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return rest_.empty(); }

  // A little-endian number of `bytes` bytes, at most 8.
  uint64_t Number(int bytes) {
    uint64_t number = 0;
    for (int i = 0; i < bytes && !rest_.empty(); ++i) {
      number |= uint64_t{static_cast<uint8_t>(rest_.front())} << (8 * i);
      rest_.remove_prefix(1);
    }
    return number;
  }
  // A number from 0 to `below` - 1, of one byte.
  int Choice(int below) { return static_cast<int>(Number(1)) % below; }

  // Up to `bytes` bytes.
  std::string_view Bytes(size_t bytes) {
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view Rest() { return Bytes(rest_.size()); }

 private:
  std::string_view rest_;
};

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_FUZZ_INPUT_H_
