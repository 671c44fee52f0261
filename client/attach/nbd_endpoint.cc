#include "client/attach/nbd_endpoint.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/listen_address.h"
#include "base/reason.h"
#include "client/attach/qemu_words.h"

namespace ramvol {
namespace {

// How long QEMU holds back requests while the server is away.
constexpr int kReconnectSeconds = 60;

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

bool IsLoopback(std::string_view host) {
  return host == "localhost" || host == "::1" || StartsWith(host, "127.");
}

bool IsAny(std::string_view host) { return host == "0.0.0.0" || host == "::"; }

// The host of "dns:///HOST:PORT", "ipv4:HOST:PORT", "[IPV6]:PORT", "HOST" and
// the like. "" for a Unix socket.
std::string HostOfGrpc(std::string_view server) {
  if (StartsWith(server, "unix:") || StartsWith(server, "unix-abstract:")) {
    return "";
  }
  for (const std::string_view scheme : {"dns:", "ipv4:", "ipv6:"}) {
    if (StartsWith(server, scheme)) server.remove_prefix(scheme.size());
  }
  if (StartsWith(server, "//")) server.remove_prefix(server.rfind('/') + 1);
  if (StartsWith(server, "[")) {
    return std::string(server.substr(1, server.find(']') - 1));
  }
  return std::string(server.substr(0, server.rfind(':')));
}

std::string PercentEncode(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    const bool plain =
        absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
        std::string_view("-._~/").find(c) != std::string_view::npos;
    if (plain) {
      encoded += c;
    } else {
      absl::StrAppendFormat(&encoded, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

std::string BracketIpv6(const std::string& host) {
  return host.find(':') == std::string::npos ? host
                                             : absl::StrCat("[", host, "]");
}

// The address of the volume, as options of QEMU's nbd driver.
std::string QemuServer(const std::string& prefix, const NbdEndpoint& endpoint,
                       const std::string& volume) {
  const std::string where =
      endpoint.is_unix()
          ? absl::StrCat(prefix, "server.type=unix,", prefix,
                         "server.path=", QemuValue(endpoint.unix_path))
          : absl::StrCat(prefix, "server.type=inet,", prefix,
                         "server.host=", QemuValue(endpoint.host), ",", prefix,
                         "server.port=", endpoint.port);
  const std::string tls =
      endpoint.tls
          ? absl::StrCat(",", prefix, "tls-creds=", kQemuTlsCredentials)
          : "";
  return absl::StrCat(where, ",", prefix, "export=", QemuValue(volume), tls);
}

absl::Status NoListener(const std::string& message) {
  return WithReason(absl::FailedPreconditionError(message), "NO_NBD_LISTENER");
}

}  // namespace

bool IsOnThisHost(std::string_view grpc_server) {
  const std::string host = HostOfGrpc(grpc_server);
  return host.empty() || IsLoopback(host);
}

std::string NbdEndpoint::ToString() const {
  if (is_unix()) return absl::StrCat("unix:", unix_path);
  return absl::StrCat(BracketIpv6(host), ":", port);
}

absl::StatusOr<NbdEndpoint> ParseNbdEndpoint(std::string_view text) {
  if (text == "systemd" || StartsWith(text, "vsock:")) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", std::string(text),
                     "\" says not where to connect; give unix:PATH or "
                     "HOST:PORT"));
  }
  absl::StatusOr<ListenAddress> address = ParseListenAddress(text);
  if (!address.ok()) return address.status();
  if (!address->is_unix() && (address->port == 0 || address->host.empty())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", std::string(text), "\" lacks a host or a port to connect to"));
  }
  return NbdEndpoint{.unix_path = std::move(address->unix_path),
                     .host = std::move(address->host),
                     .port = address->port};
}

absl::StatusOr<NbdEndpoint> ChooseNbdEndpoint(
    const std::vector<std::string>& nbd_addresses,
    std::string_view grpc_server) {
  if (nbd_addresses.empty()) {
    return NoListener(
        "the server does not listen for NBD; start it with "
        "--nbd_listen=unix:PATH or HOST:PORT, or give the address of a "
        "ramvol-nbd with --nbd");
  }
  const std::string grpc_host = HostOfGrpc(grpc_server);
  const bool local = IsOnThisHost(grpc_server);
  std::vector<NbdEndpoint> usable;
  for (const std::string& text : nbd_addresses) {
    absl::StatusOr<NbdEndpoint> endpoint = ParseNbdEndpoint(text);
    if (!endpoint.ok()) continue;
    if (endpoint->is_unix()) {
      if (local) return endpoint;
      continue;
    }
    if (IsAny(endpoint->host)) {
      const char* loopback = endpoint->host == "::" ? "::1" : "127.0.0.1";
      endpoint->host = local ? loopback : grpc_host;
    }
    if (local || !IsLoopback(endpoint->host)) usable.push_back(*endpoint);
  }
  if (!usable.empty()) return usable.front();
  return NoListener(absl::StrCat(
      "the server listens for NBD on ", absl::StrJoin(nbd_addresses, ", "),
      ", which cannot be reached from here; start it with "
      "--nbd_listen=HOST:PORT, or say how to reach it with --nbd"));
}

std::string NbdUri(const NbdEndpoint& endpoint, const std::string& volume) {
  const std::string name = PercentEncode(volume);
  const std::string scheme = endpoint.tls ? "nbds" : "nbd";
  if (endpoint.is_unix()) {
    return absl::StrCat(scheme, "+unix:///", name,
                        "?socket=", PercentEncode(endpoint.unix_path));
  }
  const std::string host =
      absl::StrReplaceAll(BracketIpv6(endpoint.host), {{"%", "%25"}});
  return absl::StrCat(scheme, "://", host, ":", endpoint.port, "/", name);
}

std::string QemuBlockdev(const NbdEndpoint& endpoint, const std::string& volume,
                         bool read_only) {
  const std::string node = QemuNodeName(volume);
  const std::string blockdev = absl::StrCat(
      "driver=nbd,node-name=", node, ",", QemuServer("", endpoint, volume),
      ",discard=unmap,detect-zeroes=unmap,reconnect-delay=", kReconnectSeconds,
      read_only ? ",read-only=on" : "");
  return absl::StrCat("-blockdev ", ShellQuote(blockdev),
                      " -device virtio-blk-pci,drive=", node);
}

std::string QemuDrive(const NbdEndpoint& endpoint, const std::string& volume,
                      bool read_only) {
  // Uses no URI: its "?" would have to be quoted for a shell.
  const std::string drive =
      absl::StrCat("file.driver=nbd,", QemuServer("file.", endpoint, volume),
                   ",file.reconnect-delay=", kReconnectSeconds,
                   ",format=raw,if=virtio,discard=unmap,detect-zeroes=unmap",
                   read_only ? ",read-only=on" : "");
  return absl::StrCat("-drive ", ShellQuote(drive));
}

}  // namespace ramvol
