#include "client/attach/nbd_devices.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ramvol {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "ramvol:";
constexpr std::string_view kCsiPrefix = "ramvol-csi:";

// The only line of a file. "" if it cannot be read.
std::string Line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The kernel counts sectors of 512 bytes.
uint64_t SizeBytes(const std::string& text) {
  uint64_t sectors = 0;
  std::from_chars(text.data(), text.data() + text.size(), sectors);
  return sectors * 512;
}

int CountEntries(const fs::path& folder) {
  std::error_code error;
  int count = 0;
  for (fs::directory_iterator entry(folder, error);
       !error && entry != fs::directory_iterator(); entry.increment(error)) {
    ++count;
  }
  return count;
}

}  // namespace

std::string NbdBackend::ToString() const {
  return absl::StrCat(std::string(by_csi ? kCsiPrefix : kPrefix), name, ":",
                      uid);
}

std::optional<NbdBackend> ParseNbdBackend(std::string_view text) {
  const bool by_csi = text.substr(0, kCsiPrefix.size()) == kCsiPrefix;
  const std::string_view prefix = by_csi ? kCsiPrefix : kPrefix;
  if (text.substr(0, prefix.size()) != prefix) return std::nullopt;
  text.remove_prefix(prefix.size());
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  return NbdBackend{.name = std::string(text.substr(0, colon)),
                    .uid = std::string(text.substr(colon + 1)),
                    .by_csi = by_csi};
}

std::vector<NbdDevice> AttachedNbdDevices(const std::string& sys) {
  std::vector<NbdDevice> devices;
  std::error_code error;
  for (fs::directory_iterator entry(fs::path(sys) / "block", error);
       !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const std::optional<int> index = ParseNbdDevice(
        absl::StrCat("/dev/", entry->path().filename().string()));
    if (!index.has_value()) continue;
    const std::optional<NbdDevice> device = FindNbdDevice(sys, *index);
    if (device.has_value()) devices.push_back(*device);
  }
  std::sort(
      devices.begin(), devices.end(),
      [](const NbdDevice& a, const NbdDevice& b) { return a.index < b.index; });
  return devices;
}

std::optional<NbdDevice> FindNbdDevice(const std::string& sys, int index) {
  const fs::path folder = fs::path(sys) / "block" / absl::StrCat("nbd", index);
  std::error_code error;
  // This file exists while the device is attached.
  if (!fs::exists(folder / "pid", error)) return std::nullopt;
  return NbdDevice{.index = index,
                   .backend = Line(folder / "backend"),
                   .queues = std::max(1, CountEntries(folder / "mq")),
                   .size_bytes = SizeBytes(Line(folder / "size"))};
}

std::optional<NbdDevice> FindNbdDeviceOf(const std::string& sys,
                                         std::string_view uid, bool by_csi) {
  for (NbdDevice& device : AttachedNbdDevices(sys)) {
    const std::optional<NbdBackend> backend = ParseNbdBackend(device.backend);
    if (backend.has_value() && backend->by_csi == by_csi &&
        backend->uid == uid) {
      return std::move(device);
    }
  }
  return std::nullopt;
}

std::optional<int> ParseNbdDevice(std::string_view path) {
  constexpr std::string_view kPrefix = "/dev/nbd";
  if (path.substr(0, kPrefix.size()) != kPrefix) return std::nullopt;
  path.remove_prefix(kPrefix.size());
  int index = 0;
  const char* const begin = path.data();
  const char* const end = begin + path.size();
  const auto [stop, error] = std::from_chars(begin, end, index);
  if (error != std::errc() || stop != end || index < 0) return std::nullopt;
  return index;
}

std::string NbdDevicePath(int index) { return absl::StrCat("/dev/nbd", index); }

}  // namespace ramvol
