#include "nbd_bridge/nbd_tls.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace ramvol::nbd {

absl::StatusOr<NbdTls::Mode> ParseNbdTlsMode(std::string_view flag,
                                             std::string_view text,
                                             bool has_credentials) {
  const absl::string_view name(flag.data(), flag.size());
  if (text == "off") return NbdTls::Mode::kOff;
  if (text.empty()) {
    return has_credentials ? NbdTls::Mode::kRequire : NbdTls::Mode::kOff;
  }
  if (text != "allow" && text != "require") {
    return absl::InvalidArgumentError(absl::StrCat(
        "--", name, " is \"", absl::string_view(text.data(), text.size()),
        "\"; it must be off, allow or require"));
  }
  if (!has_credentials) {
    return absl::InvalidArgumentError(
        absl::StrCat("--", name,
                     " wants TLS, and there is no certificate and no key; give "
                     "--tls_cert and --tls_key, or --",
                     name, "_psk"));
  }
  return text == "allow" ? NbdTls::Mode::kAllow : NbdTls::Mode::kRequire;
}

}  // namespace ramvol::nbd
