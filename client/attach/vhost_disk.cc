#include "client/attach/vhost_disk.h"

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/reason.h"
#include "client/attach/nbd_endpoint.h"
#include "client/attach/qemu_words.h"

namespace ramvol {
namespace {

// Of QEMU's, which all of the machine's disks share.
constexpr char kMemory[] = "ramvol-memory";

std::string Mebibytes(int64_t bytes) { return absl::StrCat(bytes >> 20, "M"); }

// QEMU's ids have no "@".
std::string Plain(const std::string& name) {
  return std::string(absl::StripPrefix(name, "@"));
}

absl::Status NoVhostUser(const std::string& message) {
  return WithReason(absl::FailedPreconditionError(message), "NO_VHOST_USER");
}

}  // namespace

absl::StatusOr<std::string> VhostSocket(const std::string& dir,
                                        std::string_view grpc_server,
                                        const std::string& volume) {
  if (dir.empty()) {
    return NoVhostUser(
        "the server offers no vhost-user; start it with --vhost_user_dir=DIR");
  }
  if (!IsOnThisHost(grpc_server)) {
    return NoVhostUser(
        absl::StrCat("the server at ", std::string(grpc_server),
                     " cannot map the memory of machines on this host; attach "
                     "the volume over NBD, without --vhost-user"));
  }
  return absl::StrCat(dir, "/", volume, ".sock");
}

std::string QemuVhostDisk(const VhostDisk& disk) {
  const std::string size = Mebibytes(disk.memory_bytes);
  const std::string memory =
      disk.memory_bytes == 0
          ? ""
          : absl::StrCat("-m ", size,
                         " -object memory-backend-memfd,id=", kMemory,
                         ",size=", size,
                         ",share=on -machine memory-backend=", kMemory, " ");
  const std::string id = QemuNodeName(Plain(disk.volume));
  // It connects again each second while the server is away.
  const std::string chardev = absl::StrCat(
      "socket,id=", id, ",path=", QemuValue(disk.socket), ",reconnect=1");
  return absl::StrCat(memory, "-chardev ", ShellQuote(chardev),
                      " -device vhost-user-blk-pci,chardev=", id);
}

std::string CloudHypervisorVhostDisk(const VhostDisk& disk) {
  const std::string memory =
      disk.memory_bytes == 0
          ? ""
          : absl::StrCat("--memory size=", Mebibytes(disk.memory_bytes),
                         ",shared=on ");
  return absl::StrCat(
      memory, "--disk ",
      ShellQuote(absl::StrCat("vhost_user=on,socket=", disk.socket)));
}

}  // namespace ramvol
