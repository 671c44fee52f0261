#include "client/cli/transfer/file_format.h"

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "base/reason.h"

namespace ramvol::cli {
namespace {

struct Format {
  const char* name;
  size_t offset;
  absl::string_view magic;
  // For a compressed file: the command that writes its content to standard
  // output. Null for images, which qemu-img converts.
  const char* decompressor;
};

constexpr Format kFormats[] = {
    {"qcow2", 0, {"QFI\xfb", 4}, nullptr},
    {"VMDK", 0, {"KDMV", 4}, nullptr},
    {"VMDK", 0, {"COWD", 4}, nullptr},
    {"VMDK", 0, {"# Disk DescriptorFile", 21}, nullptr},
    {"VHDX", 0, {"vhdxfile", 8}, nullptr},
    {"VHD", 0, {"conectix", 8}, nullptr},
    {"VDI", 64, {"\x7f\x10\xda\xbe", 4}, nullptr},
    {"QED", 0, {"QED\0", 4}, nullptr},
    {"Parallels", 0, {"WithoutFreeSpace", 16}, nullptr},
    {"Parallels", 0, {"WithouFreSpacExt", 16}, nullptr},
    {"gzip", 0, {"\x1f\x8b\x08", 3}, "zcat"},
    {"zstd", 0, {"\x28\xb5\x2f\xfd", 4}, "zstdcat"},
    {"xz", 0, {"\xfd\x37zXZ\0", 6}, "xzcat"},
    {"bzip2", 0, {"BZh", 3}, "bzcat"},
    {"lz4", 0, {"\x04\x22\x4d\x18", 4}, "lz4cat"},
    {"zip", 0, {"PK\x03\x04", 4}, "unzip -p"},
};

constexpr char kAsItIs[] = "; --format=raw stores it as it is";

// A space and the file's name, quoted for a shell. "" for a pipe.
std::string Argument(const std::string& path) {
  if (path.empty()) return "";
  const bool plain = absl::c_all_of(path, [](unsigned char c) {
    return absl::ascii_isalnum(c) ||
           absl::string_view("-._/+@").find(static_cast<char>(c)) !=
               absl::string_view::npos;
  });
  if (plain && path[0] != '-') return absl::StrCat(" ", path);
  return absl::StrCat(" '", absl::StrReplaceAll(path, {{"'", "'\\''"}}), "'");
}

std::string Advice(const Format& format, const std::string& path) {
  const std::string what = path.empty() ? "standard input" : path;
  if (format.decompressor != nullptr) {
    return absl::StrCat(what, " is compressed by ", format.name,
                        "; import its content: ", format.decompressor,
                        Argument(path), " | ramvol import - NAME", kAsItIs);
  }
  return absl::StrCat(what, " is an image of format ", format.name,
                      ", not the bytes of the disk; convert it first: qemu-img "
                      "convert -O raw",
                      path.empty() ? " FILE" : Argument(path), " FILE.raw",
                      kAsItIs);
}

}  // namespace

absl::Status CheckRawFormat(const std::string& path, std::string_view head) {
  const absl::string_view bytes(head.data(), head.size());
  for (const Format& format : kFormats) {
    if (bytes.size() < format.offset ||
        !absl::StartsWith(bytes.substr(format.offset), format.magic)) {
      continue;
    }
    return WithReason(absl::FailedPreconditionError(Advice(format, path)),
                      "FOREIGN_FORMAT");
  }
  return absl::OkStatus();
}

}  // namespace ramvol::cli
