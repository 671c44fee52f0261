// The texts of refusals, in one place.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_REFUSAL_TEXT_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_REFUSAL_TEXT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/engine/content/refusal.h"
#include "server/engine/memory/account.h"

namespace ramvol::engine {

// A request, as its caller made it.
struct Request {
  absl::string_view what;  // Begins the message: "read", "write", ...
  uint64_t offset = 0;
  uint64_t length = 0;
};

// OK when nothing was refused. Else a status with the reason of the cause
// (ReasonOf). Its text names the request and the volume (called `volume`, of
// `size_bytes`), gives figures and says what to do. Only refusals at a limit
// need `account`.
absl::Status Explain(const Refusal& refusal, const Request& request,
                     absl::string_view volume, uint64_t size_bytes,
                     const Account* account);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_REFUSAL_TEXT_H_
