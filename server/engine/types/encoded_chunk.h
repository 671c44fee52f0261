// Chunks in the form in which the engine keeps them, to be taken out and put
// back without compressing anything again.
#ifndef RAMVOL_SERVER_ENGINE_TYPES_ENCODED_CHUNK_H_
#define RAMVOL_SERVER_ENGINE_TYPES_ENCODED_CHUNK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "server/engine/types/blocks.h"

namespace ramvol::engine {

enum class RunKind : uint8_t {
  kZeroes,  // No bytes.
  kRaw,     // The content itself.
  kFrame,   // A frame of RFC 8878 without its four magic bytes.
};

// Consecutive blocks of a chunk in one form.
struct EncodedRun {
  RunKind kind = RunKind::kZeroes;
  int first_block = 0;
  int blocks = 0;
  // Of a frame's content, the low 32 bits of its XXH3-64, where it is known.
  std::optional<uint32_t> checksum = std::nullopt;
  // A frame that the engine has just so: it has a checksum, and no block
  // repeats 8 bytes. WriteEncoded takes its word for that, and decompresses
  // nothing. If it is not so, reads of these blocks are DATA_LOSS.
  bool as_stored = false;
  absl::Span<const char> bytes = {};
};

// One chunk. `runs` are in order and hold all its blocks. Movable.
struct EncodedChunk {
  uint64_t chunk = 0;
  std::vector<EncodedRun> runs;
  // Nothing is gained by compressing its raw blocks, or its frames of whole
  // chunks, again.
  bool settled = false;
  // Blocks that hold the same already stay as they are, so that they are still
  // shared; those of a frame if all of them do. Nobody else may write to the
  // chunk meanwhile.
  bool keeps_same = false;
  // Where the bytes of `runs` lie, for who has no place of their own.
  std::unique_ptr<char[]> buffer;

  // What `buffer` needs at most.
  static constexpr size_t kBufferBytes = kChunkBytes;

  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const EncodedRun& run : runs) sum += run.bytes.size();
    return sum;
  }
};

// How to take a chunk out.
enum class EncodedForm {
  // As it is, frame by frame. Only frames that hold dead blocks, or whose
  // blocks do not lie one after the other, are compressed again.
  kAsStored,
  // Compressed as a whole and as tightly as zstd can.
  kTight,
  // Not compressed.
  kRaw,
};

// A chunk that is not a hole, before it is taken out.
struct StoredChunk {
  uint64_t chunk = 0;
  // The bytes of its runs as kAsStored, and how many runs there are. Without
  // `exact`, about as many.
  uint32_t bytes = 0;
  int runs = 0;
  bool exact = false;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_TYPES_ENCODED_CHUNK_H_
