#include "csi/loop_devices.h"

#include <fcntl.h>
#include <glob.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file_descriptor.h"
#include "base/mutex.h"
#include "base/read_file.h"
#include "csi/command.h"
#include "csi/wait_until.h"

namespace ramvol::csi_driver {
namespace {

constexpr char kDevice[] = "/dev/loop";
constexpr char kSysDevices[] = "/sys/block/loop";
constexpr mode_t kNodeMode = 0600;  // As the kernel makes them.
constexpr char kSysFile[] = "/loop/backing_file";
// A busy node's programs took and freed the device up to five times in a row.
constexpr int kTriesOfFree = 20;

// Of all loop devices that lie over a file.
std::vector<std::string> Numbers() {
  glob_t found = {};
  const absl::Cleanup free_found = [&found] { globfree(&found); };
  std::vector<std::string> numbers;
  if (glob(absl::StrCat(kSysDevices, "*", kSysFile).c_str(), 0, nullptr,
           &found) != 0) {
    return numbers;
  }
  for (size_t i = 0; i < found.gl_pathc; ++i) {
    absl::string_view number = found.gl_pathv[i];
    absl::ConsumePrefix(&number, kSysDevices);
    absl::ConsumeSuffix(&number, kSysFile);
    numbers.emplace_back(number);
  }
  return numbers;
}

// A /dev that is not the kernel's own lacks devices that came after it: that of
// a container, also one that is itself a node, such as kind's.
absl::Status MakeNode(const std::string& number) {
  const std::string device = kDevice + number;
  if (access(device.c_str(), F_OK) == 0) return absl::OkStatus();
  const std::string sys = absl::StrCat(kSysDevices, number, "/dev");
  const std::pair<std::string, std::string> numbers =
      absl::StrSplit(ReadFile(sys).value_or(""), absl::MaxSplits(':', 1));
  unsigned major_number = 0;
  unsigned minor_number = 0;
  std::string why = absl::StrCat("no numbers in ", sys);
  if (absl::SimpleAtoi(numbers.first, &major_number) &&
      absl::SimpleAtoi(numbers.second, &minor_number)) {
    if (mknod(device.c_str(), S_IFBLK | kNodeMode,
              makedev(major_number, minor_number)) == 0 ||
        errno == EEXIST) {
      return absl::OkStatus();
    }
    why = std::strerror(errno);
  }
  return absl::InternalError(
      absl::StrCat(device, " is free but missing, and cannot be made: ", why,
                   "; let ramvol-csi see the node's /dev"));
}

// The path, also where /dev lacks it.
std::string PathOf(const std::string& number) {
  MakeNode(number).IgnoreError();
  return kDevice + number;
}

// The path of the file that a device lies over, as the kernel shows it; "" if
// there is none.
std::string FileOf(const std::string& number) {
  return std::string(absl::StripTrailingAsciiWhitespace(
      ReadFile(absl::StrCat(kSysDevices, number, kSysFile)).value_or("")));
}

// The device may lie over the file, though the kernel has no path for it: it
// lies over the same one in a mount namespace that is gone, or over one of FUSE
// that has lost its process as well.
bool MayLieOver(const std::string& number, const std::string& file) {
  if (FileOf(number) != "/") return false;
  const FileDescriptor loop(open(PathOf(number).c_str(), O_RDONLY | O_CLOEXEC));
  loop_info64 info = {};
  if (!loop.is_open()) return false;
  if (ioctl(loop.get(), LOOP_GET_STATUS64, &info) != 0) {
    return errno == ENOTCONN;
  }
  struct stat found = {};
  return stat(file.c_str(), &found) == 0 && found.st_dev == info.lo_device &&
         found.st_ino == info.lo_inode;
}

std::string NoteOf(const std::string& file) {
  return file + LoopDevices::kNoteSuffix;
}

absl::Status WriteNote(const std::string& file, const std::string& device) {
  const std::string path = NoteOf(file);
  const FileDescriptor note(
      open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600));
  if (note.is_open() && write(note.get(), device.data(), device.size()) ==
                            static_cast<ssize_t>(device.size())) {
    return absl::OkStatus();
  }
  return absl::InternalError(absl::StrCat(path, ": ", std::strerror(errno)));
}

// The number of the device in the note; "" if there is none.
std::string NotedNumber(const std::string& file) {
  const std::string note = ReadFile(NoteOf(file)).value_or("");
  absl::string_view number = note;
  const bool is_device =
      absl::ConsumePrefix(&number, kDevice) &&
      std::all_of(number.begin(), number.end(), absl::ascii_isdigit);
  return is_device ? std::string(number) : "";
}

}  // namespace

std::string LoopDevices::Find(const std::string& file) const {
  for (const std::string& number : Numbers()) {
    const std::string found = FileOf(number);
    // Deleted once its program is gone.
    if (found == file || found == file + " (deleted)") {
      return PathOf(number);
    }
  }
  const std::string noted = NotedNumber(file);
  return !noted.empty() && MayLieOver(noted, file) ? PathOf(noted) : "";
}

absl::StatusOr<std::string> LoopDevices::Make(const std::string& file,
                                              bool read_only,
                                              absl::Time deadline) {
  const MutexLock lock(&making_);
  int tries_of_free = 0;
  while (true) {
    auto device = commands_->Output({"losetup", "--find"}, deadline);
    if (!device.ok()) return device;
    const std::string number(absl::StripPrefix(*device, kDevice));
    const absl::Status reached = MakeNode(number);
    if (!reached.ok()) return reached;
    const absl::Status noted = WriteNote(file, *device);
    if (!noted.ok()) return noted;
    // Direct, so that nothing is cached twice.
    Command command = {"losetup", "--direct-io=on"};
    if (read_only) command.push_back("--read-only");
    command.insert(command.end(), {*device, file});
    const absl::Status made = commands_->Output(command, deadline).status();
    if (made.ok()) return device;
    // Another program was faster, and may be done with it already. Else the
    // next try fails as well.
    if (FileOf(number).empty() && ++tries_of_free == kTriesOfFree) return made;
    if (absl::Now() >= deadline) return made;
  }
}

absl::Status LoopDevices::Remove(const std::string& file, absl::Time deadline) {
  // More than one, if an interrupted call and its repetition both made one.
  for (std::string loop = Find(file); !loop.empty(); loop = Find(file)) {
    const absl::Status freed =
        commands_->Output({"losetup", "--detach", loop}, deadline).status();
    if (!freed.ok()) return freed;
    // It goes when whoever looks at it, such as udev, is done.
    if (!WaitUntil(deadline, [&] { return Find(file) != loop; })) {
      return absl::DeadlineExceededError(
          absl::StrCat(loop, " is in use, so it stays"));
    }
  }
  unlink(NoteOf(file).c_str());
  return absl::OkStatus();
}

}  // namespace ramvol::csi_driver
