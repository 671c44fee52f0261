// Tells AddressSanitizer which bytes of the arena must not be touched. Does
// nothing in other builds.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_POISON_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_POISON_H_

#include <cstddef>

#include "absl/base/config.h"

#ifdef ABSL_HAVE_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

namespace ramvol::engine {

// `start` must be a multiple of 8, the granularity of ASan's shadow memory.
inline void Poison([[maybe_unused]] const void* start,
                   [[maybe_unused]] size_t bytes) {
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  __asan_poison_memory_region(start, bytes);
#endif
}

inline void Unpoison([[maybe_unused]] const void* start,
                     [[maybe_unused]] size_t bytes) {
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  __asan_unpoison_memory_region(start, bytes);
#endif
}

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_POISON_H_
