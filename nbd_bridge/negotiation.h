// The handshake of one connection.
#ifndef RAMVOL_NBD_BRIDGE_NEGOTIATION_H_
#define RAMVOL_NBD_BRIDGE_NEGOTIATION_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/block/block_device.h"
#include "base/block/exports.h"
#include "base/door_stats.h"
#include "nbd_bridge/nbd_tls.h"
#include "nbd_bridge/protocol/transmission.h"
#include "nbd_bridge/request.h"
#include "nbd_bridge/socket.h"

namespace ramvol::nbd {

// How long a client may take for one option.
inline constexpr absl::Duration kOptionTimeout = absl::Seconds(60);
// How long it may take for the whole handshake.
inline constexpr absl::Duration kHandshakeTimeout = absl::Minutes(5);
// Most data that an option may have. More is refused. More than
// kMaxSkippedOptionBytes ends the connection.
inline constexpr size_t kMaxOptionBytes = size_t{64} << 10;
inline constexpr size_t kMaxSkippedOptionBytes = size_t{16} << 20;
// The metadata contexts: what is a hole, and what has changed since the
// snapshot whose name follows. QEMU and libnbd's tools know the latter as
// bitmaps.
inline constexpr absl::string_view kAllocationContext = "base:allocation";
inline constexpr absl::string_view kChangesContext = "qemu:dirty-bitmap:";
// Most contexts that are selected at once, and most that are listed.
inline constexpr size_t kMaxContexts = 8;
inline constexpr size_t kMaxListedContexts = 1000;

struct NegotiationOptions {
  // As in NbdServerOptions.
  std::string default_export;
  bool read_only = false;
  // True while the server shuts down: options are refused. Borrowed.
  const std::atomic<bool>* draining = nullptr;
  NbdTls tls = {};
  // Counts handshakes of TLS that fail. Borrowed; may be null.
  DoorStats* door_stats = nullptr;
};

// What a client chose.
struct Negotiated {
  std::string name;
  std::unique_ptr<block::BlockDevice> device;
  Style style = Style::kSimple;
  std::vector<MetaContext> contexts;  // Those for block status.
  bool read_only = false;
};

// Negotiates until the client enters the transmission phase. nullopt when it
// left or broke the protocol. Blocks.
std::optional<Negotiated> Negotiate(Socket& socket, block::Exports& exports,
                                    const NegotiationOptions& options);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_NEGOTIATION_H_
