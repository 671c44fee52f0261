#include "server/http2/header_fields.h"

#include <algorithm>

namespace ramvol::http2 {
namespace {

// So many bits hold all numbers below 2^32. gRPC would take zeroes for ever.
constexpr int kMaxNumberBits = 35;

// What a field begins with (RFC 7541, section 6): the highest bit that is set
// says which kind it is, and the bits below it are a number.
constexpr uint8_t kIndexed = 0x80;
constexpr uint8_t kAddedLiteral = 0x40;
constexpr uint8_t kTableSize = 0x20;
constexpr uint8_t kLiteral = 0x10;
// The highest bit of a string's length is for Huffman codes.
constexpr uint8_t kLengthMask = 0x7f;
// The highest bit of a number's later bytes says that one more follows.
constexpr uint8_t kMore = 0x80;

}  // namespace

bool HeaderFields::Take(std::string_view bytes) {
  while (!bytes.empty()) {
    if (string_left_ > 0) {
      const uint64_t skipped = std::min<uint64_t>(string_left_, bytes.size());
      bytes.remove_prefix(skipped);
      string_left_ -= skipped;
      if (string_left_ == 0) EndString();
      continue;
    }
    const auto byte = static_cast<uint8_t>(bytes.front());
    bytes.remove_prefix(1);
    if (in_number_) {
      if (!ContinueNumber(byte)) return false;
    } else if (part_ == Part::kField) {
      BeginField(byte);
    } else {
      BeginNumber(byte, kLengthMask);
    }
    if (!in_number_) EndNumber();
  }
  return true;
}

void HeaderFields::BeginField(uint8_t byte) {
  ++count_;
  if ((byte & kIndexed) != 0) {
    part_ = Part::kIndex;
    BeginNumber(byte, kIndexed - 1);
  } else if ((byte & kAddedLiteral) != 0) {
    part_ = Part::kNameIndex;
    BeginNumber(byte, kAddedLiteral - 1);
  } else if ((byte & kTableSize) != 0) {
    part_ = Part::kIndex;
    BeginNumber(byte, kTableSize - 1);
  } else {
    // With the bit of kLiteral no proxy may index it; else it looks the same.
    part_ = Part::kNameIndex;
    BeginNumber(byte, kLiteral - 1);
  }
}

void HeaderFields::BeginNumber(uint8_t byte, uint8_t mask) {
  number_ = byte & mask;
  in_number_ = number_ == mask;
  number_bits_ = 0;
}

bool HeaderFields::ContinueNumber(uint8_t byte) {
  number_ += uint64_t{byte & (kMore - 1u)} << number_bits_;
  number_bits_ += 7;
  in_number_ = (byte & kMore) != 0;
  return !in_number_ || number_bits_ < kMaxNumberBits;
}

void HeaderFields::EndNumber() {
  switch (part_) {
    case Part::kField:
      break;
    case Part::kIndex:
      part_ = Part::kField;
      break;
    case Part::kNameIndex:
      part_ = number_ == 0 ? Part::kName : Part::kValue;
      break;
    case Part::kName:
    case Part::kValue:
      string_left_ = number_;
      if (string_left_ == 0) EndString();
      break;
  }
}

}  // namespace ramvol::http2
