#include "server/engine/types/options.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/reason.h"

namespace ramvol::engine {
namespace {

// "16 MiB", or "4097 bytes" where no unit divides.
std::string Human(uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {" bytes", " KiB", " MiB",
                                                 " GiB", " TiB"};
  size_t unit = 0;
  for (; bytes != 0 && bytes % 1024 == 0 && unit + 1 < kUnits.size(); ++unit) {
    bytes /= 1024;
  }
  return absl::StrCat(bytes, kUnits[unit]);
}

// `name` as a literal, safe to print and of bounded length.
std::string Quoted(std::string_view name) {
  const bool cut = name.size() > kMaxShownNameBytes;
  name = name.substr(0, kMaxShownNameBytes);
  return absl::StrCat(
      "\"", absl::CHexEscape(absl::string_view(name.data(), name.size())),
      cut ? "\"..." : "\"");
}

absl::Status Unless(bool valid, std::string_view field,
                    const std::string& message) {
  return valid ? absl::OkStatus() : InvalidField(field, message);
}

// Checks that `value` is in [min, max]. `hint` is appended to the error.
absl::Status CheckRange(std::string_view field, int64_t value, int64_t min,
                        int64_t max, std::string_view hint = "") {
  if (value >= min && value <= max) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(std::string(field), " is ", value,
                                          "; choose a value from ", min, " to ",
                                          max, std::string(hint)));
}

absl::Status CheckByteRange(std::string_view field, uint64_t value,
                            uint64_t min, uint64_t max,
                            std::string_view hint = "") {
  if (value >= min && value <= max) return absl::OkStatus();
  return InvalidField(field,
                      absl::StrCat(std::string(field), " is ", Human(value),
                                   "; choose a value from ", Human(min), " to ",
                                   Human(max), std::string(hint)));
}

absl::Status CheckLevel(std::string_view field, int level) {
  if (level != 0) {
    return CheckRange(field, level, kMinLevel, kMaxLevel, ", but not 0");
  }
  return InvalidField(
      field, absl::StrCat(std::string(field),
                          " is 0, which names no level; choose 1 for speed, up "
                          "to ",
                          kMaxLevel, " for ratio, or down to ", kMinLevel,
                          " for more speed yet"));
}

absl::Status CheckFrameBytes(std::string_view field, uint32_t bytes) {
  if (std::has_single_bit(bytes) && bytes >= kBlockBytes &&
      bytes <= kChunkBytes) {
    return absl::OkStatus();
  }
  return InvalidField(
      field, absl::StrCat(std::string(field), " is ", Human(bytes),
                          "; choose 4 KiB, 8 KiB, 16 KiB, 32 KiB or 64 KiB"));
}

absl::Status CheckSize(uint64_t size_bytes) {
  if (size_bytes >= 1 && size_bytes <= kMaxVolumeBytes) return absl::OkStatus();
  return InvalidField(
      "size_bytes",
      absl::StrCat("size_bytes is ", size_bytes,
                   "; choose a size from 1 byte to ", kMaxVolumeBytes,
                   " bytes (8 EiB less one byte)"));
}

bool IsNameEnd(char c) {
  return absl::ascii_islower(c) || absl::ascii_isdigit(c);
}
bool IsNameByte(char c) {
  return IsNameEnd(c) || c == '.' || c == '_' || c == '-';
}

// Returns the first status that is not OK.
template <typename... Statuses>
absl::Status FirstError(absl::Status first, Statuses... rest) {
  if constexpr (sizeof...(rest) > 0) {
    if (first.ok()) return FirstError(std::move(rest)...);
  }
  return first;
}

}  // namespace

absl::Status EngineOptions::Validate() const {
  absl::Status memory =
      CheckByteRange("memory_limit_bytes", memory_limit_bytes,
                     kMinMemoryLimitBytes, kMaxMemoryLimitBytes);
  if (!memory.ok()) return memory;
  return FirstError(
      hot_cache_bytes == 0
          ? absl::OkStatus()
          : CheckByteRange("hot_cache_bytes", hot_cache_bytes,
                           kMinHotCacheBytes, memory_limit_bytes / 2,
                           " (half of the memory limit), or 0 for an eighth "
                           "of the memory limit"),
      CheckRange("background_threads", background_threads, 0,
                 kMaxBackgroundThreads, "; 0 means one for each core"),
      CheckRange("merge_interval_ms", merge_interval_ms, 1,
                 std::numeric_limits<int>::max()),
      CheckRange("max_volumes", max_volumes, 1,
                 std::numeric_limits<int>::max()));
}

absl::Status VolumeOptions::Validate() const {
  return FirstError(
      ValidateName(name), CheckSize(size_bytes),
      CheckFrameBytes("min_frame_bytes", min_frame_bytes),
      CheckFrameBytes("max_frame_bytes", max_frame_bytes),
      Unless(min_frame_bytes <= max_frame_bytes, "min_frame_bytes",
             absl::StrCat("min_frame_bytes is ", Human(min_frame_bytes),
                          ", more than max_frame_bytes, which is ",
                          Human(max_frame_bytes),
                          "; lower the one or raise the other")),
      CheckLevel("write_level", write_level),
      CheckLevel("merge_level", merge_level),
      Unless(allocator != Allocator::kMalloc || memory_limit_bytes == 0,
             "memory_limit_bytes",
             absl::StrCat("memory_limit_bytes is ", Human(memory_limit_bytes),
                          ", but a volume with allocator MALLOC reserves all "
                          "of its size; leave the limit at 0, or choose "
                          "another allocator")));
}

std::string ShownName(std::string_view name) {
  if (name.size() <= kMaxShownNameBytes) return std::string(name);
  return std::string(name.substr(0, kMaxShownNameBytes)) + "...";
}

absl::Status ValidateName(std::string_view name) {
  const auto invalid = [name](absl::string_view what) {
    return InvalidField(
        "name",
        absl::StrCat("volume name ", Quoted(name), " ", what, "; use 1 to ",
                     kMaxNameBytes,
                     " of a-z, 0-9, '.', '_' and '-', with a letter or digit "
                     "at either end"),
        reason::kInvalidName);
  };
  if (name.empty()) return invalid("is empty");
  if (name.size() > kMaxNameBytes) {
    return invalid(absl::StrCat("has ", name.size(), " bytes"));
  }
  const auto bad = std::find_if_not(name.begin(), name.end(), IsNameByte);
  if (bad != name.end()) {
    return invalid(absl::StrCat("has a byte that is not allowed at position ",
                                bad - name.begin() + 1));
  }
  if (!IsNameEnd(name.front())) return invalid("begins with punctuation");
  if (!IsNameEnd(name.back())) return invalid("ends with punctuation");
  return absl::OkStatus();
}

}  // namespace ramvol::engine
