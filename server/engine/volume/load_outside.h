// Reads in all that volumes have outside.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_LOAD_OUTSIDE_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_LOAD_OUTSIDE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/memory/arena.h"

namespace ramvol::engine {

// Looks through all volumes again and again, until there is no frame in `arena`
// that is outside and could be had, or go_on() is false. Returns how many
// chunks could not be had.
//
// `volumes` lists what is a VolumeCore each. A volume may be made while it is
// in no list yet, or deleted while it is in none any more, and be all that has
// a frame; so this waits for those. It gives up after 10 s without progress:
// damaged volumes keep theirs.
uint64_t LoadOutside(
    const Arena& arena,
    absl::FunctionRef<std::vector<std::weak_ptr<ChunkOwner>>()> volumes,
    absl::FunctionRef<bool()> go_on);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_LOAD_OUTSIDE_H_
