// Where chunks are whose content is not in memory yet.
#ifndef RAMVOL_SERVER_ENGINE_TYPES_OUTSIDE_SOURCE_H_
#define RAMVOL_SERVER_ENGINE_TYPES_OUTSIDE_SOURCE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "server/engine/types/encoded_chunk.h"

namespace ramvol::engine {

// A chunk of an image, and what is to be kept of the memory limit for it.
struct OutsideChunk {
  uint64_t chunk = 0;
  uint32_t room_bytes = 0;
};

// Images, by numbers. Thread-safe.
class OutsideSource {
 public:
  virtual ~OutsideSource() = default;

  // Fills `*out` with what `image` has of `chunk`. An error says why that
  // cannot be had.
  virtual absl::Status Read(uint32_t image, uint64_t chunk,
                            EncodedChunk* out) = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_TYPES_OUTSIDE_SOURCE_H_
