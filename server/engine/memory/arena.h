// All memory of the volumes: 4 KiB pages and small objects, carved out of one
// address range that is as large as the memory limit and grows and shrinks page
// by page. What is resident is what is counted, so the limit is a promise.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_ARENA_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_ARENA_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "server/engine/memory/memory_types.h"

namespace ramvol::engine {

// Thread-safe; every call holds a lock for a few instructions only. Giving
// memory back to the kernel takes a system call, outside of any lock that
// allocation needs; a call that frees may be the one that pays for it.
class Arena {
 public:
  // RESOURCE_EXHAUSTED when the address space cannot be had: three times the
  // limit and 1 GiB, of which nothing is resident until it is used.
  static absl::StatusOr<std::unique_ptr<Arena>> Create(uint64_t limit_bytes);
  ~Arena();

  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // A page with one reference and unspecified content, or 0 at the limit.
  PageId AllocatePage(Priority priority);
  void RefPage(PageId page);
  // Frees the page with its last reference.
  void UnrefPage(PageId page);
  char* PageData(PageId page) const;

  // `bytes` bytes aligned to 16, or nullptr at the limit. `bytes` is 1 to
  // kMaxObjectBytes.
  void* Allocate(size_t bytes, Priority priority);
  // `bytes` as it was given to Allocate.
  void Free(void* object, size_t bytes);
  // What an object of `bytes` takes: its size rounded up to its size class.
  static size_t AllocatedBytes(size_t bytes);
  // Chooses slabs to be emptied, as far as the others of their classes have
  // room on pages that are resident, and allocates from them no more; then
  // moving (Allocate, copy, Free) every object for which ShouldMove is true
  // gives them back. Replaces an earlier choice. False when there are none.
  bool StartEvacuation(Evacuation how);
  // Forgets the choice; what is left in those slabs stays there.
  void EndEvacuation();
  // Takes no lock.
  bool ShouldMove(const void* object) const;

  // Whether `bytes` fit without giving anything back first.
  bool HasRoom(uint64_t bytes, Priority priority = Priority::kNormal) const;
  // Takes `bytes` out of the limit without any memory behind them; false where
  // an allocation of this priority would fail. Unreserve gives them back.
  bool Reserve(uint64_t bytes, Priority priority);
  void Unreserve(uint64_t bytes);

  // Gives free pages that are kept for reuse back to the kernel, all of them.
  // Allocation does so by itself when it would else fail, and freeing does when
  // more than a 32nd of what is in use (at least 1 MiB) is kept.
  void ReleaseFreeMemory();

  uint64_t limit_bytes() const;
  // Resident pages (in use, kept for reuse, partly filled slabs, own tables)
  // and reservations.
  uint64_t used_bytes() const;
  // Of them: pages and objects in use (rounded to their classes), reservations.
  uint64_t allocated_bytes() const;
  // Of them: the free parts of pages that live objects touch, which only moving
  // these objects gives back.
  uint64_t slack_bytes() const;

  // From the n-th on (0: the next one), allocations and reservations fail;
  // negative: none do. Those of Priority::kGuaranteed do not, nor are counted.
  void FailAllocationsAfterForTest(int64_t n);

 private:
  struct Impl;
  explicit Arena(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_ARENA_H_
