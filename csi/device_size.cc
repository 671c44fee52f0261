#include "csi/device_size.h"

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/read_file.h"

namespace ramvol::csi_driver {
namespace {

// The unit of sysfs, whatever the device's own is.
constexpr uint64_t kSector = 512;

}  // namespace

uint64_t SizeOfDevice(const std::string& device, const std::string& sys) {
  const std::string name = device.substr(device.rfind('/') + 1);
  const auto text = ReadFile(absl::StrCat(sys, "/block/", name, "/size"));
  uint64_t sectors = 0;
  if (text.ok() && absl::SimpleAtoi(*text, &sectors)) return sectors * kSector;
  // Of a file, which is a device in tests.
  struct stat info = {};
  if (stat(device.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return 0;
  return static_cast<uint64_t>(info.st_size);
}

bool FillsDevice(uint64_t bytes, const std::string& device,
                 const std::string& sys) {
  const uint64_t size = SizeOfDevice(device, sys);
  return bytes == UINT64_MAX || (size > 0 && bytes >= size);
}

}  // namespace ramvol::csi_driver
