#include "csi/mounter.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/read_file.h"
#include "csi/command.h"

namespace ramvol::csi_driver {
namespace {

// More mounts at one place than that are a mistake of somebody else.
constexpr int kMaxStackedMounts = 16;

bool IsOctal(char c) { return c >= '0' && c <= '7'; }

// The kernel writes white space and backslashes as a backslash and three
// octal digits.
std::string Unescape(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && IsOctal(text[i + 1]) &&
        IsOctal(text[i + 2]) && IsOctal(text[i + 3])) {
      out += static_cast<char>((text[i + 1] - '0') * 64 +
                               (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool HasOption(absl::string_view options, absl::string_view option) {
  const std::vector<absl::string_view> all = absl::StrSplit(options, ',');
  return std::find(all.begin(), all.end(), option) != all.end();
}

std::optional<Mount> ParseLine(absl::string_view line) {
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
  size_t dash = 6;
  while (dash < words.size() && words[dash] != "-") ++dash;
  if (dash + 2 >= words.size()) return std::nullopt;
  Mount mount;
  mount.root = Unescape(words[3]);
  mount.target = Unescape(words[4]);
  mount.read_only = HasOption(words[5], "ro");
  mount.fs_type = std::string(words[dash + 1]);
  mount.source = Unescape(words[dash + 2]);
  if (dash + 3 < words.size()) {
    // The last two are ext4's, in Linux 6.15 and later.
    for (const char* option : {"ro", "emergency_ro", "shutdown"}) {
      mount.stopped = mount.stopped || HasOption(words[dash + 3], option);
    }
    mount.stopped = mount.stopped && !mount.read_only;
  }
  return mount;
}

std::string RealPath(const std::string& path) {
  char* const real = realpath(path.c_str(), nullptr);
  if (real == nullptr) return path;
  std::string result = real;
  free(real);
  return result;
}

// Whether both are there and have the same device number.
bool IsSameDevice(const std::string& a, const std::string& b) {
  struct stat of_a = {};
  struct stat of_b = {};
  return stat(a.c_str(), &of_a) == 0 && stat(b.c_str(), &of_b) == 0 &&
         (S_ISBLK(of_a.st_mode) || S_ISCHR(of_a.st_mode)) &&
         (of_a.st_mode & S_IFMT) == (of_b.st_mode & S_IFMT) &&
         of_a.st_rdev == of_b.st_rdev;
}

}  // namespace

bool Mount::Holds(const std::string& device) const {
  if (source == device) return true;
  if (fs_type == "devtmpfs") {
    const size_t slash = device.rfind('/');
    return slash != std::string::npos && root == device.substr(slash);
  }
  // As /dev is where a node is itself a container, such as kind's. Nothing else
  // is looked at, since a network's file system may not answer.
  return fs_type == "tmpfs" && IsSameDevice(target, device);
}

std::vector<Mount> ParseMounts(std::string_view mountinfo) {
  std::vector<Mount> mounts;
  for (const absl::string_view line : absl::StrSplit(
           absl::string_view(mountinfo.data(), mountinfo.size()), '\n')) {
    std::optional<Mount> mount = ParseLine(line);
    if (mount.has_value()) mounts.push_back(*std::move(mount));
  }
  return mounts;
}

std::vector<Mount> Mounter::List() const {
  return ParseMounts(ReadFile(mountinfo_).value_or(""));
}

bool Mounter::IsMounted(const std::string& device) const {
  const std::vector<Mount> mounts = List();
  return !device.empty() &&
         std::any_of(mounts.begin(), mounts.end(),
                     [&](const Mount& mount) { return mount.Holds(device); });
}

std::optional<Mount> Mounter::Find(const std::string& target) const {
  const std::string real = RealPath(target);
  std::optional<Mount> found;
  for (Mount& mount : List()) {
    if (mount.target == real) found = std::move(mount);
  }
  return found;
}

absl::Status Mounter::MountDevice(const std::string& device,
                                  const std::string& target,
                                  const std::string& fs_type,
                                  const std::vector<std::string>& options,
                                  absl::Time deadline) const {
  Command command = {"mount", "-t", fs_type};
  if (!options.empty()) {
    command.insert(command.end(), {"-o", absl::StrJoin(options, ",")});
  }
  command.insert(command.end(), {device, target});
  return commands_->Output(command, deadline).status();
}

absl::Status Mounter::Bind(const std::string& source, const std::string& target,
                           bool read_only, absl::Time deadline) const {
  absl::Status bound =
      commands_->Output({"mount", "--bind", source, target}, deadline).status();
  if (!bound.ok() || !read_only) return bound;
  bound = MakeReadOnly(target, deadline);
  // What is left, the next try makes read-only, or Unmount takes away.
  if (!bound.ok()) Unmount(target, deadline).IgnoreError();
  return bound;
}

absl::Status Mounter::MakeReadOnly(const std::string& target,
                                   absl::Time deadline) const {
  return commands_->Output({"mount", "-o", "remount,bind,ro", target}, deadline)
      .status();
}

absl::Status Mounter::Unmount(const std::string& target,
                              absl::Time deadline) const {
  for (int i = 0; i < kMaxStackedMounts && Find(target).has_value(); ++i) {
    const absl::Status done =
        commands_->Output({"umount", target}, deadline).status();
    // Somebody else may have been faster.
    if (!done.ok() && Find(target).has_value()) return done;
  }
  return absl::OkStatus();
}

}  // namespace ramvol::csi_driver
