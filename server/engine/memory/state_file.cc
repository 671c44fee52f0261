#include "server/engine/memory/state_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/file_descriptor.h"
#include "base/file_error.h"
#include "base/file_lock.h"
#include "base/size.h"
#include "server/engine/memory/kill_point.h"
#include "server/engine/memory/mapping.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/memory/state_header.h"

namespace ramvol::engine {
namespace {

struct AddressRange {
  uint64_t first;
  uint64_t end;
};

// Where new files are mapped: where neither the kernel's choice of addresses
// nor a sanitizer's own memory lies, so that it is free in the next process,
// too. The second is for processes that have 39 bits of addresses: on some
// kernels for arm64, and in user-mode Linux.
constexpr AddressRange kAddressRanges[] = {
#ifdef RAMVOL_TSAN
    {0x40'0000'0000, 0x80'0000'0000},
#else
    {0x1100'0000'0000, 0x5000'0000'0000},
    {0x10'0000'0000, 0x50'0000'0000},
#endif
};
constexpr uint64_t kAddressAlignment = uint64_t{1} << 30;
constexpr int kMaxAddressTries = 100;

constexpr uint64_t kBlockBytes = 512;  // Of struct stat.
constexpr uint64_t kProbeBytes = 64 << 20;

absl::StatusOr<FileDescriptor> OpenDir(const std::string& dir) {
  const bool made = mkdir(dir.c_str(), 0700) == 0;
  if (!made && errno != EEXIST) {
    return FileError(errno, absl::StrCat("cannot make directory ", dir));
  }
  FileDescriptor opened(open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct statfs fs;
  if (!opened.is_open() || fstatfs(opened.get(), &fs) != 0) {
    return FileError(errno, absl::StrCat("cannot open directory ", dir));
  }
  if (fs.f_type != TMPFS_MAGIC) {
    if (made) rmdir(dir.c_str());
    return absl::FailedPreconditionError(absl::StrCat(
        dir,
        " is not on a tmpfs, so it cannot hold memory; use a directory "
        "under /run or /dev/shm, or mount a tmpfs there"));
  }
  return opened;
}

// A tmpfs with the mount option huge=always or within_size would take 2 MiB for
// a page.
absl::Status ExpectSmallPages(const FileDescriptor& dir_fd,
                              const std::string& dir) {
  const FileDescriptor probe(
      openat(dir_fd.get(), ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
  struct stat info;
  if (!probe.is_open() || ftruncate(probe.get(), kProbeBytes) != 0 ||
      pwrite(probe.get(), "", 1, 0) != 1 || fstat(probe.get(), &info) != 0) {
    // A full one may hold what shall go on.
    if (errno == ENOSPC) return absl::OkStatus();
    return FileError(errno, absl::StrCat("cannot write a page to ", dir));
  }
  if (info.st_blocks * kBlockBytes <= kPageBytes) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the tmpfs of ", dir,
                   " uses huge pages, which memory cannot be counted in; "
                   "mount it with the option huge=never"));
}

// Opens or makes a file of ours in `dir_fd`.
absl::StatusOr<FileDescriptor> OpenFile(const FileDescriptor& dir_fd,
                                        const char* name,
                                        const std::string& dir) {
  FileDescriptor opened(openat(
      dir_fd.get(), name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  struct stat info;
  if (!opened.is_open() || fstat(opened.get(), &info) != 0) {
    return FileError(errno, absl::StrCat("cannot open ", dir, "/", name));
  }
  // It is trusted like the process's own memory.
  if (!S_ISREG(info.st_mode) || info.st_uid != geteuid()) {
    return absl::FailedPreconditionError(
        absl::StrCat(dir, "/", name, " is no file of this user (", geteuid(),
                     ") but of user ", info.st_uid,
                     "; run ramvold as that one, or give it "
                     "another directory"));
  }
  return opened;
}

absl::Status Lock(const FileDescriptor& file, const std::string& dir) {
  const auto locked = LockFile(file, absl::StrCat(dir, "/lock"));
  if (!locked.ok() || *locked) return locked.status();
  return absl::FailedPreconditionError(
      absl::StrCat("another ramvold uses ", dir,
                   "; stop it first, or give this one another directory"));
}

// Zeros where the file ends.
absl::StatusOr<StateHeader> ReadHeader(const FileDescriptor& file,
                                       const std::string& path) {
  StateHeader header;
  if (pread(file.get(), &header, sizeof(header), 0) < 0) {
    return FileError(errno, absl::StrCat("cannot read ", path));
  }
  return header;
}

// The room that the file has, with what it takes already. The largest number
// where nothing bounds it.
uint64_t RoomFor(const FileDescriptor& file, uint64_t taken_bytes) {
  struct statfs fs;
  if (fstatfs(file.get(), &fs) != 0 || fs.f_blocks == 0) return ~uint64_t{0};
  return fs.f_bavail * static_cast<uint64_t>(fs.f_bsize) + taken_bytes;
}

absl::Status IsFull(const std::string& dir) {
  return absl::ResourceExhaustedError(absl::StrCat(
      "cannot take the first page of ", dir, "/arena: ", strerror(errno),
      "; make room in that tmpfs or give it a larger size"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<StateFile>> StateFile::Open(
    const std::string& dir, uint64_t limit_bytes, uint64_t format) {
  if (StateFileBytes(limit_bytes) / kUnitBytes > kMaxUnits) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "cannot address ", limit_bytes, " bytes; lower the memory limit"));
  }
  const absl::StatusOr<FileDescriptor> dir_fd = OpenDir(dir);
  if (!dir_fd.ok()) return dir_fd.status();
  absl::StatusOr<FileDescriptor> lock = OpenFile(*dir_fd, "lock", dir);
  if (!lock.ok()) return lock.status();
  if (absl::Status locked = Lock(*lock, dir); !locked.ok()) return locked;
  absl::Status probed = ExpectSmallPages(*dir_fd, dir);
  if (!probed.ok()) return probed;
  absl::StatusOr<FileDescriptor> file = OpenFile(*dir_fd, "arena", dir);
  if (!file.ok()) return file.status();

  auto opened = absl::WrapUnique(
      new StateFile(dir, limit_bytes, *std::move(lock), *std::move(file)));
  const absl::StatusOr<StateHeader> header =
      ReadHeader(opened->file_, opened->path());
  if (!header.ok()) return header.status();
  const absl::StatusOr<bool> empty = opened->IsEmpty(*header);
  if (!empty.ok()) return empty.status();
  absl::Status status =
      *empty ? opened->MakeFile(format) : opened->Reopen(*header, format);
  if (status.ok()) status = opened->FinishOpen();
  if (!status.ok()) return status;
  return opened;
}

StateFile::StateFile(std::string dir, uint64_t limit_bytes, FileDescriptor lock,
                     FileDescriptor file)
    : dir_(std::move(dir)),
      limit_bytes_(limit_bytes),
      lock_(std::move(lock)),
      file_(std::move(file)) {}

std::string StateFile::path() const { return absl::StrCat(dir_, "/arena"); }

// A process that ends while it makes the file leaves the first page at most.
absl::StatusOr<bool> StateFile::IsEmpty(const StateHeader& header) const {
  if (header.magic != 0) return false;
  bool empty = true;
  const absl::Status status = ForEachRun(
      [&](uint64_t /*first*/, uint64_t end) { empty = empty && end == 1; });
  if (!status.ok()) return status;
  return empty;
}

absl::StatusOr<StateFile::PageRun> StateFile::NextRun(uint64_t from) const {
  const off_t data = lseek(file_.get(), from * kPageBytes, SEEK_DATA);
  // ENXIO: there is none up to the end of the file.
  if (data < 0 && errno == ENXIO) return PageRun{from, from};
  const off_t hole = data < 0 ? data : lseek(file_.get(), data, SEEK_HOLE);
  if (hole < 0) {
    return FileError(errno, absl::StrCat("cannot find the holes of ", path()));
  }
  return PageRun{data / kPageBytes, (hole + kPageBytes - 1) / kPageBytes};
}

// ---- Making it ------------------------------------------------------------

absl::Status StateFile::MakeFile(uint64_t format) {
  is_new_ = true;
  const uint64_t file_bytes = StateFileBytes(limit_bytes_);
  if (absl::Status grown = Grow(file_bytes); !grown.ok()) return grown;
  if (absl::Status mapped = MapSomewhere(file_bytes); !mapped.ok()) {
    return mapped;
  }
  KillPoint();
  if (!range_->Fill(address_, kPageBytes)) return IsFull(dir_);
  KillPoint();

  StateHeader header = StateHeader::Make(
      format, reinterpret_cast<uintptr_t>(address_), file_bytes, limit_bytes_);
  const uint64_t magic = std::exchange(header.magic, 0);
  std::memcpy(address_, &header, sizeof(header));
  KillPoint();
  // Last: the header counts from here on.
  static_assert(offsetof(StateHeader, magic) == 0);
  std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(address_))
      .store(magic, std::memory_order_release);
  KillPoint();
  return absl::OkStatus();
}

absl::Status StateFile::MapSomewhere(uint64_t file_bytes) {
  absl::Status status;
  for (const AddressRange& range : kAddressRanges) {
    const absl::Status mapped = MapWithin(range.first, range.end, file_bytes);
    if (mapped.ok()) return mapped;
    status.Update(mapped);  // The first one stays.
  }
  return status;
}

absl::Status StateFile::MapWithin(uint64_t first, uint64_t end,
                                  uint64_t file_bytes) {
  if (file_bytes > end - first) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot map ", file_bytes, " bytes of ", path(),
                     "; lower the memory limit"));
  }
  std::random_device random;
  std::uniform_int_distribution<uint64_t> step(
      0, (end - first - file_bytes) / kAddressAlignment);
  absl::Status status;
  for (int i = 0; i < kMaxAddressTries; ++i) {
    status = MapAt(first + step(random) * kAddressAlignment, file_bytes);
    if (!absl::IsAlreadyExists(status)) return status;
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("found no place to map ", path(), ": ", status.message()));
}

absl::Status StateFile::MapAt(uint64_t address, uint64_t file_bytes) {
  address_ = reinterpret_cast<char*>(address);
  absl::StatusOr<Mapping> mapping =
      Mapping::OfFile(file_.get(), file_bytes, address_);
  if (!mapping.ok()) return mapping.status();
  range_.emplace(*std::move(mapping));
  return absl::OkStatus();
}

absl::Status StateFile::Grow(uint64_t file_bytes) {
  if (ftruncate(file_.get(), static_cast<off_t>(file_bytes)) == 0) {
    return absl::OkStatus();
  }
  return FileError(errno, absl::StrCat("cannot make ", path(), " ", file_bytes,
                                       " bytes long"));
}

// ---- Opening it again -----------------------------------------------------

absl::Status StateFile::Reopen(const StateHeader& header, uint64_t format) {
  if (absl::Status understood = header.Check(format, dir_); !understood.ok()) {
    return understood;
  }
  struct stat info;
  if (fstat(file_.get(), &info) != 0) {
    return FileError(errno, absl::StrCat("cannot read ", path()));
  }
  const auto found_bytes = static_cast<uint64_t>(info.st_size);
  if (found_bytes < header.file_bytes || found_bytes % kUnitBytes != 0 ||
      found_bytes / kUnitBytes > kMaxUnits) {
    return absl::FailedPreconditionError(
        absl::StrCat(path(), " was truncated: it has ", found_bytes,
                     " bytes, expected ", header.file_bytes, ". Move ", dir_,
                     " away to start without what it holds"));
  }
  const uint64_t stored_bytes = info.st_blocks * kBlockBytes;
  if (limit_bytes_ < header.limit_bytes && stored_bytes > limit_bytes_) {
    return absl::FailedPreconditionError(absl::StrCat(
        dir_, " holds ", FormatSize(stored_bytes), ", and the memory limit is ",
        FormatSize(limit_bytes_), "; start with the limit that it had (",
        FormatExactSize(header.limit_bytes), ") and delete volumes, or move ",
        dir_, " away to start without them"));
  }
  const uint64_t file_bytes =
      std::max(found_bytes, StateFileBytes(limit_bytes_));
  if (absl::Status mapped = MapAt(header.address, file_bytes); !mapped.ok()) {
    if (!absl::IsAlreadyExists(mapped)) return mapped;
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot map ", path(), " where it was: ", mapped.message(),
        ". Start ramvold again; if that repeats, start the program that made "
        "it, or move ",
        dir_, " away to start without what it holds"));
  }
  // The new size first: a file that is larger than its header says is fine.
  if (file_bytes > found_bytes) {
    if (absl::Status grown = Grow(file_bytes); !grown.ok()) return grown;
  }
  KillPoint();
  auto* const mine = reinterpret_cast<StateHeader*>(address_);
  mine->file_bytes = file_bytes;
  KillPoint();
  mine->limit_bytes = limit_bytes_;
  KillPoint();
  return absl::OkStatus();
}

// A process that ended may have left it in part.
absl::Status StateFile::FillRootArea() {
  bool filled = true;
  uint64_t next = 0;  // Pages before this are there.
  const auto fill_to = [&](uint64_t end) {
    end = std::min<uint64_t>(end, kUnitPages);
    if (next >= end) return;
    filled = filled && range_->Fill(address_ + next * kPageBytes,
                                    (end - next) * kPageBytes);
  };
  // No further: to find all that the file holds takes long.
  while (next < kUnitPages) {
    const absl::StatusOr<PageRun> run = NextRun(next);
    if (!run.ok()) return run.status();
    fill_to(run->first == run->end ? kUnitPages : run->first);
    next = std::max(next, run->end);
    if (run->first == run->end) break;
  }
  return filled ? absl::OkStatus() : IsFull(dir_);
}

absl::Status StateFile::FinishOpen() {
  absl::Status filled = FillRootArea();
  if (!filled.ok()) return filled;
  struct stat info;
  if (fstat(file_.get(), &info) != 0) {
    return FileError(errno, absl::StrCat("cannot read ", path()));
  }
  const uint64_t room = RoomFor(file_, info.st_blocks * kBlockBytes);
  if (room < limit_bytes_) {
    warning_ = absl::StrCat(
        "the tmpfs of ", dir_, " has room for ", FormatSize(room),
        " of the memory limit of ", FormatSize(limit_bytes_),
        ". When it is full, writes fail as at the limit, and the server may "
        "have to stop; what is stored survives. Give it a larger size (mount "
        "-o remount,size=...) or lower the limit");
  }
  return absl::OkStatus();
}

}  // namespace ramvol::engine
