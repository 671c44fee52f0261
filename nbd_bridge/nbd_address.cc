#include "nbd_bridge/nbd_address.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace ramvol::nbd {
namespace {

absl::StatusOr<NbdAddress> ParseOne(absl::string_view text) {
  NbdAddress address;
  absl::string_view rest = text;
  if (text == "systemd") {
    address.kind = NbdAddress::Kind::kSystemd;
    return address;
  }
  if (absl::ConsumePrefix(&rest, "vsock:")) {
    address.kind = NbdAddress::Kind::kVsock;
    if (absl::SimpleAtoi(rest, &address.vsock_port)) return address;
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text,
                     "\" is no address to listen on: the port is not a number; "
                     "write vsock:PORT"));
  }
  auto stream = ParseListenAddress({text.data(), text.size()});
  if (!stream.ok()) return stream.status();
  address.stream = *std::move(stream);
  return address;
}

}  // namespace

absl::StatusOr<std::vector<NbdAddress>> ParseNbdAddresses(
    std::string_view text) {
  std::vector<NbdAddress> addresses;
  for (const absl::string_view part :
       absl::StrSplit(absl::string_view(text.data(), text.size()), ',')) {
    auto address = ParseOne(part);
    if (!address.ok()) return address.status();
    addresses.push_back(*std::move(address));
  }
  if (addresses.size() > kMaxListenAddresses) {
    return absl::InvalidArgumentError(absl::StrCat(
        "there are ", addresses.size(),
        " addresses to listen on; give at most ", kMaxListenAddresses));
  }
  return addresses;
}

}  // namespace ramvol::nbd
