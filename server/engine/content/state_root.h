// What lies in the arena's root area, from which everything is reached.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_STATE_ROOT_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_STATE_ROOT_H_

#include <atomic>
#include <cstdint>

#include "server/engine/content/record_list.h"
#include "server/engine/memory/state_header.h"

namespace ramvol::engine {

// Zeroed in a new file. Each field changes by one store.
struct StateRoot {
  RecordList::Head records;
  // The set of images that frames which are outside are of, by a number that
  // their owner has given it; 0: no frame is outside. It is there before the
  // first record that reaches such a frame, and until the last such frame is
  // gone.
  std::atomic<uint64_t> outside;
};
static_assert(sizeof(StateRoot) <= kRootAreaBytes);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_STATE_ROOT_H_
