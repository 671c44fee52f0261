#include "vhost_user/shared_mapping.h"

#include <linux/magic.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"

namespace ramvol::vhost {
namespace {

// Of all clients together.
constexpr size_t kMaxMappings = 16384;

// What the handler knows of a mapping. All of it is read by a signal handler.
struct Watched {
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  std::atomic<BrokenFlag*> broken{nullptr};
};
static_assert(std::atomic<uintptr_t>::is_always_lock_free);

std::array<Watched, kMaxMappings> watched;
// No handler needs to look at places from here on.
std::atomic<size_t> watched_end{0};
struct sigaction previous_action;

// Puts zeroes in the place of what contains `address`. False when that is no
// mapping of ours.
bool Replace(uintptr_t address) {
  const size_t end = watched_end.load(std::memory_order_acquire);
  for (size_t i = 0; i < end; ++i) {
    const uintptr_t begin = watched[i].begin.load(std::memory_order_acquire);
    if (begin == 0 || address < begin) continue;
    const uintptr_t last = watched[i].end.load(std::memory_order_acquire);
    if (address >= last) continue;
    void* const mapped = mmap(
        reinterpret_cast<void*>(begin), last - begin, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    BrokenFlag* const broken = watched[i].broken.load();
    if (broken != nullptr) broken->store(true);
    return mapped != MAP_FAILED;
  }
  return false;
}

void OnBusError(int /*number*/, siginfo_t* info, void* /*context*/) {
  const int saved_errno = errno;
  if (!Replace(reinterpret_cast<uintptr_t>(info->si_addr))) {
    // It comes again, to whoever was there before.
    sigaction(SIGBUS, &previous_action, nullptr);
  }
  errno = saved_errno;
}

void InstallHandler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action{};
    action.sa_sigaction = OnBusError;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous_action);
  });
}

Mutex& WatchMutex() {
  static Mutex& mu = *new Mutex;
  return mu;
}

// A place in the table, or -1 when all are taken.
int Watch(char* base, size_t bytes, BrokenFlag* broken) {
  MutexLock lock(&WatchMutex());
  for (size_t i = 0; i < kMaxMappings; ++i) {
    Watched& place = watched[i];
    if (place.begin.load() != 0) continue;
    place.broken.store(broken);
    place.end.store(reinterpret_cast<uintptr_t>(base) + bytes);
    place.begin.store(reinterpret_cast<uintptr_t>(base),
                      std::memory_order_release);
    if (i >= watched_end.load()) watched_end.store(i + 1);
    return static_cast<int>(i);
  }
  return -1;
}

void Unwatch(int index) {
  MutexLock lock(&WatchMutex());
  watched[index].begin.store(0);
  watched[index].end.store(0);
}

// The size of the file's pages, or an error for what must not be mapped.
absl::StatusOr<uint64_t> CheckFile(int fd, uint64_t offset, uint64_t bytes) {
  struct stat file{};
  struct statfs system{};
  if (fstat(fd, &file) != 0 || fstatfs(fd, &system) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a descriptor without a file: ", std::strerror(errno)));
  }
  const bool in_memory =
      system.f_type == TMPFS_MAGIC || system.f_type == HUGETLBFS_MAGIC;
  if (!S_ISREG(file.st_mode) || !in_memory) {
    return absl::InvalidArgumentError(
        "memory in a file that is none of memfd_create, a tmpfs or a "
        "hugetlbfs; let the virtual machine share such memory, by "
        "memory-backend-memfd,share=on");
  }
  const auto size = static_cast<uint64_t>(file.st_size);
  if (bytes == 0 || bytes > size || offset > size - bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        bytes, " bytes at offset ", offset, " of a file of ", size, " bytes"));
  }
  return static_cast<uint64_t>(
      system.f_type == HUGETLBFS_MAGIC ? system.f_bsize : getpagesize());
}

}  // namespace

absl::StatusOr<std::unique_ptr<SharedMapping>> SharedMapping::Map(
    int fd, uint64_t offset, uint64_t bytes, BrokenFlag* broken) {
  const auto page = CheckFile(fd, offset, bytes);
  if (!page.ok()) return page.status();
  InstallHandler();
  const uint64_t begin = offset / *page * *page;
  const uint64_t lead = offset - begin;
  // Within the file, so that nothing overflows but by its last page.
  const uint64_t mapped_bytes = (lead + bytes + *page - 1) / *page * *page;
  void* const base =
      mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE,
           MAP_SHARED | MAP_NORESERVE, fd, static_cast<off_t>(begin));
  if (base == MAP_FAILED) {
    return absl::InvalidArgumentError(absl::StrCat("cannot map ", bytes,
                                                   " bytes at offset ", offset,
                                                   ": ", std::strerror(errno)));
  }
  // A process that forks, or dumps its core, has no use for it.
  madvise(base, mapped_bytes, MADV_DONTFORK);
  madvise(base, mapped_bytes, MADV_DONTDUMP);
  char* const start = static_cast<char*>(base);
  std::unique_ptr<SharedMapping> mapping(
      new SharedMapping(start, mapped_bytes, start + lead, bytes));
  mapping->watched_ = Watch(start, mapped_bytes, broken);
  if (mapping->watched_ < 0) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the clients of this server share ", kMaxMappings,
        " pieces of memory already, which is the most that it watches"));
  }
  return mapping;
}

SharedMapping::~SharedMapping() {
  if (watched_ >= 0) Unwatch(watched_);
  munmap(base_, mapped_bytes_);
}

}  // namespace ramvol::vhost
