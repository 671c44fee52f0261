// Compiled for AVX2, so it includes nothing that other files share: the linker
// might take its copy of an inline function for theirs.
#include "server/engine/content/checksum_avx2.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace ramvol::engine::codec {

uint64_t Xxh3WithAvx2(const char* data, size_t bytes) {
  return XXH3_64bits(data, bytes);
}

}  // namespace ramvol::engine::codec
