// Whether NBD clients encrypt: NBD_OPT_STARTTLS.
#ifndef RAMVOL_NBD_BRIDGE_NBD_TLS_H_
#define RAMVOL_NBD_BRIDGE_NBD_TLS_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/secure_stream.h"

namespace ramvol::nbd {

struct NbdTls {
  enum class Mode {
    kOff,      // The option is unknown.
    kAllow,    // Clients choose.
    kRequire,  // Before it, a client sees no export.
  };

  // How long a client may take for TLS's handshake.
  static constexpr absl::Duration kTimeout = absl::Seconds(10);

  Mode mode = Mode::kOff;
  // Not null unless kOff.
  Securer begin = nullptr;
};

// "off", "allow" or "require"; "": kRequire when there is something to prove
// the server with (`has_credentials`), else kOff. INVALID_ARGUMENT for others,
// and when TLS is wanted and `has_credentials` is false; the text names
// `flag`, such as "nbd_tls".
absl::StatusOr<NbdTls::Mode> ParseNbdTlsMode(std::string_view flag,
                                             std::string_view text,
                                             bool has_credentials);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_NBD_TLS_H_
