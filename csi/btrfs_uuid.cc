#include "csi/btrfs_uuid.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/file_descriptor.h"

namespace ramvol::csi_driver {
namespace {

// The super block of which the kernel mounts; it writes the others by it.
constexpr off_t kSuperOffset = 65536;
constexpr size_t kSuperBytes = 4096;
using SuperBlock = std::array<uint8_t, kSuperBytes>;

// Where in it its fields are; integers are little-endian.
constexpr size_t kChecksum = 0;
constexpr size_t kUuid = 32;  // From here on, all is in the checksum.
constexpr size_t kFlags = 56;
constexpr size_t kMagic = 64;
constexpr size_t kDevices = 136;
constexpr size_t kIncompatibleFeatures = 188;
constexpr size_t kChecksumType = 196;
// That of all other blocks, with the feature; else they have kUuid.
constexpr size_t kMetadataUuid = 571;

constexpr size_t kUuidBytes = 16;
constexpr char kMagicBytes[] = "_BHRfS_M";
constexpr uint64_t kHasMetadataUuid = 0x400;
// Of a seed, and of what btrfstune has begun and not ended.
constexpr uint64_t kForbiddenFlags = uint64_t{0x19} << 32;

uint64_t Get(const SuperBlock& super, size_t offset, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes; ++i) {
    value |= uint64_t{super[offset + i]} << (8 * i);
  }
  return value;
}

void Set(SuperBlock* super, size_t offset, size_t bytes, uint64_t value) {
  for (size_t i = 0; i < bytes; ++i) {
    (*super)[offset + i] = static_cast<uint8_t>(value >> (8 * i));
  }
}

// CRC-32C. No library that the driver links computes it.
uint32_t Checksum(const SuperBlock& super) {
  constexpr uint32_t kPolynomial = 0x82f63b78;
  uint32_t crc = ~uint32_t{0};
  for (size_t i = kUuid; i < super.size(); ++i) {
    crc ^= super[i];
    for (int bit = 0; bit < 8; ++bit) {
      crc = crc >> 1 ^ ((crc & 1) != 0 ? kPolynomial : 0);
    }
  }
  return ~crc;
}

bool MayRenew(const SuperBlock& super) {
  return std::memcmp(&super[kMagic], kMagicBytes, 8) == 0 &&
         (Get(super, kFlags, 8) & kForbiddenFlags) == 0 &&
         Get(super, kDevices, 8) == 1 && Get(super, kChecksumType, 2) == 0 &&
         Get(super, kChecksum, 4) == Checksum(super);
}

absl::Status Renew(SuperBlock* super) {
  const uint64_t features = Get(*super, kIncompatibleFeatures, 8);
  if ((features & kHasMetadataUuid) == 0) {
    std::memcpy(&(*super)[kMetadataUuid], &(*super)[kUuid], kUuidBytes);
    Set(super, kIncompatibleFeatures, 8, features | kHasMetadataUuid);
  }
  if (getentropy(&(*super)[kUuid], kUuidBytes) != 0) {
    return absl::InternalError(absl::StrCat("random: ", std::strerror(errno)));
  }
  // As RFC 9562 marks what is random.
  (*super)[kUuid + 6] = ((*super)[kUuid + 6] & 0x0f) | 0x40;
  (*super)[kUuid + 8] = ((*super)[kUuid + 8] & 0x3f) | 0x80;
  Set(super, kChecksum, 4, Checksum(*super));
  return absl::OkStatus();
}

absl::Status DeviceError(const std::string& device, const char* what) {
  return absl::InternalError(
      absl::StrCat(device, ": ", what, ": ", std::strerror(errno)));
}

}  // namespace

absl::Status RenewBtrfsUuid(const std::string& device) {
  // Of a device that is mounted, the kernel refuses O_EXCL.
  const FileDescriptor file(open(device.c_str(), O_RDWR | O_EXCL | O_CLOEXEC));
  if (!file.is_open()) return DeviceError(device, "open");
  SuperBlock super = {};
  const ssize_t read =
      pread(file.get(), super.data(), kSuperBytes, kSuperOffset);
  if (read < 0) return DeviceError(device, "read");
  if (read != kSuperBytes || !MayRenew(super)) return absl::OkStatus();
  const absl::Status renewed = Renew(&super);
  if (!renewed.ok()) return renewed;
  if (pwrite(file.get(), super.data(), kSuperBytes, kSuperOffset) !=
          kSuperBytes ||
      fsync(file.get()) != 0) {
    return DeviceError(device, "write");
  }
  return absl::OkStatus();
}

}  // namespace ramvol::csi_driver
