// This file is compiled for AVX2. It includes nothing that other files share:
// the linker could pick its AVX2 copy of a shared inline function for all of
// them.
#include "server/engine/content/checksum_avx2.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace ramvol::engine::codec {

uint64_t Xxh3WithAvx2(const char* data, size_t bytes) {
  return XXH3_64bits(data, bytes);
}

}  // namespace ramvol::engine::codec
