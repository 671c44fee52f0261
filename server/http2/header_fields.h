// Counts the fields of a block of headers (HPACK, RFC 7541).
#ifndef RAMVOL_SERVER_HTTP2_HEADER_FIELDS_H_
#define RAMVOL_SERVER_HTTP2_HEADER_FIELDS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ramvol::http2 {

// A byte can stand for a field that takes a hundred in memory, so the length of
// a block does not say what it costs. This reads a block's structure, and knows
// neither tables nor Huffman codes. One thread at a time.
class HeaderFields {
 public:
  // Takes the next bytes of the block, cut anywhere. False when a number is
  // longer than any that means something: no more may be taken then.
  [[nodiscard]] bool Take(std::string_view bytes);

  // The fields, and the changes of the table's size, that have begun.
  size_t count() const { return count_; }
  // Whether the block may end here.
  bool complete() const { return part_ == Part::kField; }

 private:
  enum class Part {
    kField,      // One begins.
    kIndex,      // The number that is all of a field.
    kNameIndex,  // The number that stands for a name; 0 when a name follows.
    kName,
    kValue,
  };

  void BeginField(uint8_t byte);
  // A number begins in the bits of `byte` that are in `mask` (section 5.1).
  void BeginNumber(uint8_t byte, uint8_t mask);
  bool ContinueNumber(uint8_t byte);
  void EndNumber();
  void EndString() {
    part_ = part_ == Part::kName ? Part::kValue : Part::kField;
  }

  size_t count_ = 0;
  Part part_ = Part::kField;
  uint64_t number_ = 0;
  bool in_number_ = false;
  int number_bits_ = 0;  // Of its bytes after the first.
  uint64_t string_left_ = 0;
};

}  // namespace ramvol::http2

#endif  // RAMVOL_SERVER_HTTP2_HEADER_FIELDS_H_
