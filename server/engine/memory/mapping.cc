#include "server/engine/memory/mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "server/engine/memory/memory_types.h"

namespace ramvol::engine {
namespace {

// More than any machine can address, and small enough not to overflow below.
constexpr size_t kMaxBytes = size_t{1} << 62;

// What new pages are written from. It is never written itself, so all of it is
// the kernel's one zero page.
constexpr size_t kZeroBytes = 64 << 10;
alignas(kPageBytes) char zeros[kZeroBytes];

// A fault for reading maps what the file holds of an aligned block of this
// size. (Where it is less, the other pages take a fault each when they are
// touched.)
constexpr size_t kFaultAroundBytes = 64 << 10;

// The page may be poisoned, and what others write in its block is their own.
[[gnu::noinline, gnu::no_sanitize_address, gnu::no_sanitize_thread]] void
ReadByte(const volatile char* byte) {
  static_cast<void>(*byte);
}

absl::Status MapFailed(size_t bytes, int error) {
  return absl::ResourceExhaustedError(absl::StrCat(
      "cannot map ", bytes, " bytes of address space (", std::strerror(error),
      "); lower the memory limit, or raise `ulimit -v` or set "
      "vm.overcommit_memory to 0 or 1"));
}

void Unmap(char* start, size_t bytes) {
  if (bytes > 0) RAMVOL_CHECK(munmap(start, bytes) == 0);
}

// Huge pages would make memory resident that was never touched. False with
// errno.
bool ForbidHugePages(const Mapping& mapping) {
  // EINVAL means that this kernel has none.
  return madvise(mapping.data(), mapping.size_bytes(), MADV_NOHUGEPAGE) == 0 ||
         errno == EINVAL;
}

}  // namespace

absl::StatusOr<Mapping> Mapping::Create(size_t bytes, size_t alignment) {
  if (bytes > kMaxBytes) return MapFailed(bytes, ENOMEM);
  bytes = (bytes + kPageBytes - 1) & ~(kPageBytes - 1);
  // Maps more than needed, then unmaps what lies outside the aligned range.
  const size_t padded = bytes + alignment;
  void* const mapped = mmap(nullptr, padded, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return MapFailed(bytes, errno);

  char* const start = static_cast<char*>(mapped);
  const size_t head = -reinterpret_cast<uintptr_t>(start) & (alignment - 1);
  Unmap(start, head);
  Unmap(start + head + bytes, padded - head - bytes);
  Mapping mapping(start + head, bytes, /*fd=*/-1);
  if (!ForbidHugePages(mapping)) return MapFailed(bytes, errno);
  return mapping;
}

absl::StatusOr<Mapping> Mapping::OfFile(int fd, size_t bytes, char* address) {
  void* const mapped =
      mmap(address, bytes, PROT_READ | PROT_WRITE,
           MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd, 0);
  if (mapped == MAP_FAILED && errno != EEXIST) return MapFailed(bytes, errno);
  if (mapped != address) {
    // An old kernel, or ThreadSanitizer, takes the address for a hint.
    if (mapped != MAP_FAILED) Unmap(static_cast<char*>(mapped), bytes);
    return absl::AlreadyExistsError(absl::StrCat(
        "address 0x", absl::Hex(reinterpret_cast<uintptr_t>(address)),
        " is in use in this process"));
  }
  Mapping mapping(address, bytes, fd);
  if (!ForbidHugePages(mapping)) return MapFailed(bytes, errno);
  return mapping;
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      fd_(std::exchange(other.fd_, -1)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(fd_, other.fd_);
  return *this;
}

Mapping::~Mapping() { Unmap(data_, bytes_); }

bool Mapping::GiveBack(char* start, size_t bytes) const {
  if (!is_file()) return madvise(start, bytes, MADV_DONTNEED) == 0;
  return fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                   start - data_, static_cast<off_t>(bytes)) == 0;
}

// To write zeros and then to read maps a run of pages at half the cost of
// MADV_POPULATE_WRITE, which takes a fault for each.
bool Mapping::Fill(char* start, size_t bytes) const {
  for (size_t done = 0; done < bytes;) {
    const ssize_t written =
        pwrite(fd_, zeros, std::min(sizeof(zeros), bytes - done),
               static_cast<off_t>(start - data_ + done));
    if (written > 0) {
      done += written;
    } else if (written == 0 || errno != EINTR) {
      return false;
    }
  }
  char* page = start;
  while (page < start + bytes) {
    ReadByte(page);
    const size_t offset = reinterpret_cast<uintptr_t>(page) % kFaultAroundBytes;
    page += kFaultAroundBytes - offset;
  }
  return true;
}

}  // namespace ramvol::engine
