// Tags and lengths before protobuf fields, for messages that are encoded or
// decoded by hand. Source: protobuf.dev, "Encoding".
#ifndef RAMVOL_PROTO_TAG_H_
#define RAMVOL_PROTO_TAG_H_

#include <cstddef>
#include <cstdint>

#include "google/protobuf/io/coded_stream.h"

namespace ramvol {

// All fields here have numbers below 16, so that every tag is one byte.
constexpr uint8_t VarintTag(int field) {
  return static_cast<uint8_t>(field << 3);
}
constexpr uint8_t DelimitedTag(int field) {
  return static_cast<uint8_t>(field << 3 | 2);
}

// The size of a tag and a length that precede `length` bytes.
inline size_t HeadSize(size_t length) {
  return 1 + google::protobuf::io::CodedOutputStream::VarintSize64(length);
}

// Writes them to `out` and returns where the bytes go.
inline uint8_t* PutHead(uint8_t tag, size_t length, uint8_t* out) {
  *out++ = tag;
  return google::protobuf::io::CodedOutputStream::WriteVarint64ToArray(length,
                                                                       out);
}

}  // namespace ramvol

#endif  // RAMVOL_PROTO_TAG_H_
