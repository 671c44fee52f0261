#include "csi/file_system.h"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "csi/btrfs_uuid.h"
#include "csi/command.h"

namespace ramvol::csi_driver {
namespace {

// A journal that stays small in memory. Volumes below get what mkfs chooses.
constexpr char kExt4Journal[] = "size=16";
constexpr uint64_t kMinBytesForJournal = uint64_t{256} << 20;

// An integer of `bytes` bytes at `offset`; the byte at `step` * i weighs more.
uint64_t LittleEndian(std::string_view data, size_t offset, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = bytes; i > 0; --i) {
    value = value << 8 | static_cast<uint8_t>(data[offset + i - 1]);
  }
  return value;
}

uint64_t BigEndian(std::string_view data, size_t offset, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes; ++i) {
    value = value << 8 | static_cast<uint8_t>(data[offset + i]);
  }
  return value;
}

bool Has(std::string_view data, size_t offset, std::string_view magic) {
  return data.size() >= offset + magic.size() &&
         data.substr(offset, magic.size()) == magic;
}

// Each looks for one kind of super block; false without.
bool ProbeExt(std::string_view data, FileSystem* found) {
  constexpr size_t kSuper = 1024;
  if (data.size() < kSuper + 1024 || !Has(data, kSuper + 56, "\x53\xef")) {
    return false;
  }
  const uint64_t log_block = LittleEndian(data, kSuper + 24, 4);
  if (log_block > 6) return false;
  constexpr uint64_t k64Bit = 0x80;
  uint64_t blocks = LittleEndian(data, kSuper + 4, 4);
  if ((LittleEndian(data, kSuper + 96, 4) & k64Bit) != 0) {
    blocks |= LittleEndian(data, kSuper + 0x150, 4) << 32;
  }
  *found = {.type = "ext4", .size_bytes = blocks << (10 + log_block)};
  return true;
}

bool ProbeXfs(std::string_view data, FileSystem* found) {
  if (data.size() < 512 || !Has(data, 0, "XFSB")) return false;
  *found = {.type = "xfs",
            .size_bytes = BigEndian(data, 4, 4) * BigEndian(data, 8, 8)};
  return true;
}

bool ProbeBtrfs(std::string_view data, FileSystem* found) {
  constexpr size_t kSuper = 65536;
  if (data.size() < kSuper + 4096 || !Has(data, kSuper + 64, "_BHRfS_M")) {
    return false;
  }
  *found = {.type = "btrfs", .size_bytes = LittleEndian(data, kSuper + 112, 8)};
  return true;
}

absl::Status DeviceError(const std::string& device, int error) {
  return absl::InternalError(absl::StrCat(device, ": ", std::strerror(error)));
}

absl::StatusOr<std::string> ReadBeginning(const std::string& device) {
  const int fd = open(device.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return DeviceError(device, errno);
  const absl::Cleanup close_fd = [fd] { close(fd); };
  std::string data(kProbeBytes, '\0');
  size_t size = 0;
  while (size < data.size()) {
    const ssize_t n = pread(fd, data.data() + size, data.size() - size,
                            static_cast<off_t>(size));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return DeviceError(device, errno);
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  data.resize(size);
  return data;
}

Command MakeCommand(const std::string& type, const std::string& device,
                    bool is_zero, uint64_t bytes) {
  if (type == "xfs" || type == "btrfs") {
    Command command = {absl::StrCat("mkfs.", type), "-q", "-f"};
    if (is_zero) command.emplace_back("-K");
    command.push_back(device);
    return command;
  }
  Command command = {"mkfs.ext4", "-q", "-F", "-m", "0"};
  // Then inode tables need no zeroing.
  if (is_zero) {
    command.insert(command.end(),
                   {"-E", "nodiscard,assume_storage_prezeroed=1"});
  }
  if (bytes >= kMinBytesForJournal) {
    command.insert(command.end(), {"-J", kExt4Journal});
  }
  command.push_back(device);
  return command;
}

}  // namespace

FileSystem ProbeFileSystem(std::string_view beginning) {
  FileSystem found;
  if (ProbeExt(beginning, &found) || ProbeXfs(beginning, &found) ||
      ProbeBtrfs(beginning, &found)) {
    return found;
  }
  const bool empty =
      beginning.find_first_not_of('\0') == std::string_view::npos;
  return {.type = empty ? "" : "unknown"};
}

absl::StatusOr<FileSystem> FileSystems::Probe(const std::string& device) const {
  const absl::StatusOr<std::string> beginning = ReadBeginning(device);
  if (!beginning.ok()) return beginning.status();
  return ProbeFileSystem(*beginning);
}

uint64_t FileSystems::DeviceBytes(const std::string& device) const {
  const int fd = open(device.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  // Of a file as well, which is a device in tests.
  const off_t end = lseek(fd, 0, SEEK_END);
  close(fd);
  return end > 0 ? static_cast<uint64_t>(end) : 0;
}

absl::Status FileSystems::WriteBack(const std::string& device) const {
  const int fd = open(device.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return DeviceError(device, errno);
  const absl::Cleanup close_fd = [fd] { close(fd); };
  if (fsync(fd) != 0) return DeviceError(device, errno);
  return absl::OkStatus();
}

absl::Status FileSystems::Make(const std::string& type,
                               const std::string& device, bool is_zero,
                               absl::Time deadline) const {
  return commands_
      ->Output(MakeCommand(type, device, is_zero, DeviceBytes(device)),
               deadline)
      .status();
}

absl::Status FileSystems::Check(const std::string& type,
                                const std::string& device,
                                absl::Time deadline) const {
  // The others mend themselves when they are mounted.
  if (type != "ext4") return absl::OkStatus();
  const absl::StatusOr<CommandResult> result =
      commands_->Run({"e2fsck", "-p", device}, deadline);
  if (!result.ok()) return result.status();
  // 1: errors were corrected.
  if (result->exit_code <= 1) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("e2fsck -p ", device, " ended with ",
                                          result->exit_code, ": ",
                                          result->output));
}

absl::Status FileSystems::RenewUuid(const std::string& type,
                                    const std::string& device) const {
  // ext4 needs none, and xfs an option of its mount.
  return type == "btrfs" ? RenewBtrfsUuid(device) : absl::OkStatus();
}

absl::Status FileSystems::Grow(const std::string& type,
                               const std::string& device,
                               const std::string& target,
                               absl::Time deadline) const {
  Command command = {"resize2fs", device};
  if (type == "xfs") command = {"xfs_growfs", target};
  if (type == "btrfs")
    command = {"btrfs", "filesystem", "resize", "max", target};
  return commands_->Output(command, deadline).status();
}

absl::Status FileSystems::GrowUnmounted(const std::string& type,
                                        const std::string& device,
                                        absl::Time deadline) const {
  if (type != "ext4") {
    return absl::UnimplementedError(
        absl::StrCat(type, " in ", device, " does not grow"));
  }
  const absl::StatusOr<CommandResult> checked =
      commands_->Run({"e2fsck", "-f", "-p", device}, deadline);
  if (!checked.ok()) return checked.status();
  // It moves what the kernel's would not touch. Killed meanwhile, it might
  // leave what nobody can repair.
  return commands_->Output({"resize2fs", device}, absl::InfiniteFuture())
      .status();
}

absl::Status FileSystems::Trim(const std::string& target,
                               absl::Time deadline) const {
  return commands_->Output({"fstrim", target}, deadline).status();
}

std::vector<std::string> MountOptionsFor(const std::string& type) {
  if (type == "btrfs") return {"discard=async"};
  // It may be a copy, whether or not that can be told, and the other one be
  // mounted.
  if (type == "xfs") return {"discard", "nouuid"};
  return {"discard"};
}

}  // namespace ramvol::csi_driver
