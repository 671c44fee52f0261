// What a record says about its volume, as bytes.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_DESCRIPTION_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_DESCRIPTION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/engine/types/options.h"

namespace ramvol::engine {

struct Description {
  // Without the size, which is in the record itself.
  VolumeOptions options;
  uint64_t uid = 0;
  // Of the engine's caller, which alone knows what is in it.
  std::string attributes;
};

// For this machine: numbers are in its byte order.
std::string Format(const Description& description);
// Nothing when `text` is not what Format made. Checks lengths, not values.
std::optional<Description> ParseDescription(std::string_view text);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_DESCRIPTION_H_
