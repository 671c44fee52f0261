#include "server/engine/memory/state_header.h"

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/memory/size_class.h"

namespace ramvol::engine {
namespace {

// "ramvolMF", read as a little-endian number: a machine of other byte order
// finds another magic.
constexpr uint64_t kMagic = 0x464d'6c6f'766d'6172;
// Of the layout of the file and of slabs.
constexpr uint64_t kVersion = 1;

// FNV-1a over 64-bit words.
constexpr uint64_t Hash(uint64_t hash, uint64_t word) {
  for (int i = 0; i < 8; ++i, word >>= 8) {
    hash = (hash ^ (word & 0xff)) * 0x100'0000'01b3;
  }
  return hash;
}
constexpr uint64_t kHashOfNothing = 0xcbf2'9ce4'8422'2325;

constexpr uint64_t HashOfSizeClasses() {
  uint64_t hash = Hash(kHashOfNothing, kMaxObjectBytes);
  for (size_t i = 0; i < kSizeClasses; ++i) {
    const SizeClass& size = GetSizeClass(i);
    hash = Hash(hash, size.object_bytes);
    hash = Hash(hash, size.slots);
    hash = Hash(hash, size.header_bytes);
  }
  return hash;
}

uint64_t Checksum(const StateHeader& header) {
  uint64_t hash = kHashOfNothing;
  for (const uint64_t field :
       {header.version, uint64_t{header.page_bytes},
        uint64_t{header.unit_bytes}, uint64_t{header.object_alignment},
        uint64_t{header.root_area_bytes}, header.size_classes, header.format,
        header.address}) {
    hash = Hash(hash, field);
  }
  return hash;
}

absl::Status Mismatch(const std::string& dir, const char* what, uint64_t found,
                      uint64_t expected) {
  return absl::FailedPreconditionError(absl::StrCat(
      "the volumes in ", dir,
      " were left by another version of ramvold: ", what, " is ", found,
      ", expected ", expected, ". Start that version and save them, or move ",
      dir, " away to start without them"));
}

absl::Status Damaged(const std::string& dir, const char* what) {
  return absl::FailedPreconditionError(absl::StrCat(
      dir, "/arena is damaged or no memory file of ramvold: ", what, ". Move ",
      dir, " away to start without what it holds"));
}

}  // namespace

StateHeader StateHeader::Make(uint64_t format, uint64_t address,
                              uint64_t file_bytes, uint64_t limit_bytes) {
  StateHeader header{
      .magic = kMagic,
      .version = kVersion,
      .page_bytes = kPageBytes,
      .unit_bytes = kUnitBytes,
      .object_alignment = kObjectAlignment,
      .root_area_bytes = kRootAreaBytes,
      .size_classes = HashOfSizeClasses(),
      .format = format,
      .address = address,
      .checksum = 0,
      .file_bytes = file_bytes,
      .limit_bytes = limit_bytes,
  };
  header.checksum = Checksum(header);
  return header;
}

absl::Status StateHeader::Check(uint64_t expected_format,
                                const std::string& dir) const {
  const StateHeader mine =
      Make(expected_format, address, file_bytes, limit_bytes);
  if (magic != mine.magic) return Damaged(dir, "its magic is wrong");
  if (version != mine.version) {
    return Mismatch(dir, "the layout's version", version, mine.version);
  }
  if (checksum != Checksum(*this)) {
    return Damaged(dir, "its header's checksum is wrong");
  }
  const struct {
    const char* name;
    uint64_t found;
    uint64_t expected;
  } parameters[] = {
      {"a page's size", page_bytes, mine.page_bytes},
      {"a unit's size", unit_bytes, mine.unit_bytes},
      {"an object's alignment", object_alignment, mine.object_alignment},
      {"the root area's size", root_area_bytes, mine.root_area_bytes},
      {"the hash of the size classes", size_classes, mine.size_classes},
      {"the format of volumes", format, mine.format},
  };
  for (const auto& parameter : parameters) {
    if (parameter.found == parameter.expected) continue;
    return Mismatch(dir, parameter.name, parameter.found, parameter.expected);
  }
  return absl::OkStatus();
}

}  // namespace ramvol::engine
