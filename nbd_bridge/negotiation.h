// The handshake of one connection.
#ifndef RAMVOL_NBD_BRIDGE_NEGOTIATION_H_
#define RAMVOL_NBD_BRIDGE_NEGOTIATION_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "nbd_bridge/block_device.h"
#include "nbd_bridge/exports.h"
#include "nbd_bridge/protocol/transmission.h"
#include "nbd_bridge/socket.h"

namespace ramvol::nbd {

// How long a client may take for the next option.
inline constexpr absl::Duration kOptionTimeout = absl::Seconds(60);
// And for all of them.
inline constexpr absl::Duration kHandshakeTimeout = absl::Minutes(5);
// Longest data of an option that is understood. More is refused, and past
// kMaxSkippedOptionBytes the connection ends.
inline constexpr size_t kMaxOptionBytes = size_t{64} << 10;
inline constexpr size_t kMaxSkippedOptionBytes = size_t{16} << 20;
// The one metadata context, and its id.
inline constexpr char kAllocationContext[] = "base:allocation";
inline constexpr uint32_t kAllocationContextId = 1;

struct NegotiationOptions {
  // As in NbdServerOptions.
  std::string default_export;
  bool read_only = false;
  // Set when the server shuts down: options are refused. Borrowed.
  const std::atomic<bool>* draining = nullptr;
};

// What a client chose.
struct Negotiated {
  std::unique_ptr<BlockDevice> device;
  Style style = Style::kSimple;
  bool block_status = false;
  bool read_only = false;
};

// Talks with a client until it enters the transmission phase. Nothing when it
// left or was sent away. Blocks.
std::optional<Negotiated> Negotiate(Socket& socket, Exports& exports,
                                    const NegotiationOptions& options);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_NEGOTIATION_H_
