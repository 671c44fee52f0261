// All memory of the volumes: 4 KiB pages and small objects in one address
// range, of which single pages become resident and are released again. What is
// counted is what is resident, so the memory limit needs no estimate.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_ARENA_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_ARENA_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "server/engine/memory/memory_types.h"

namespace ramvol::engine {

class StateFile;

// Thread-safe. Calls hold locks for a few instructions only. Releasing memory
// to the kernel takes a system call, outside the locks that allocation needs. A
// call that frees may have to make it.
//
// In a memory file, a call that allocates may have to make pages resident by a
// system call, which takes tens of microseconds; objects of its size wait for
// it. When the file system is full, allocations fail as at the limit. Those of
// Priority::kGuaranteed end the process then: what is stored survives.
class Arena {
 public:
  // Maps three times the limit and 1 GiB of address space, of which nothing is
  // resident until it is used. RESOURCE_EXHAUSTED when that is not available.
  static absl::StatusOr<std::unique_ptr<Arena>> Create(uint64_t limit_bytes);
  // The same in a memory file, with the limit that it was opened with. What is
  // in it stays there when the arena, or the process, ends. The arena begins
  // in recovery, also when the file is new: see ClaimObject.
  static absl::StatusOr<std::unique_ptr<Arena>> Create(
      std::unique_ptr<StateFile> file);
  // Leaves a memory file as it is, and unlocks it.
  ~Arena();

  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // A page with one reference and unspecified content, or 0 at the limit.
  PageId AllocatePage(Priority priority);
  void RefPage(PageId page);
  // Frees the page with its last reference.
  void UnrefPage(PageId page);
  char* PageData(PageId page) const;
  // What several volumes refer to without sharing the chunk that it is in is
  // common: it is charged to no account, but counted here until its last
  // reference goes. Marks a page, which stays so; false when it was already.
  // Whoever marks it must have taken its charge off its account.
  bool MarkCommon(PageId page);
  bool IsCommon(PageId page) const;
  // Whether there is more than one reference to it.
  bool IsReferredToTwice(PageId page) const;
  // For objects, which know by themselves whether they are common: adds to the
  // count. Negative when the last reference to one goes.
  void AddCommon(int64_t bytes);
  uint64_t common_bytes() const;
  // How many objects there are whose content is outside (Frame::outside),
  // whoever has them. They count themselves.
  void AddOutside(int64_t objects);
  uint64_t outside_objects() const;

  // `bytes` bytes aligned to 16, or nullptr at the limit. `bytes` is 1 to
  // kMaxObjectBytes.
  void* Allocate(size_t bytes, Priority priority);
  // `bytes` as it was given to Allocate.
  void Free(void* object, size_t bytes);
  // What an object of `bytes` takes: its size, rounded up to a size class.
  static size_t AllocatedBytes(size_t bytes);
  // Chooses slabs to empty, as long as other slabs of the same class have room
  // on resident pages, and stops allocating from them. Moving (Allocate, copy,
  // Free) every object for which ShouldMove is true then releases these slabs.
  // Replaces an earlier choice. False when no slab was chosen.
  bool StartEvacuation(Evacuation how);
  // Ends the choice. Objects that are left in the chosen slabs stay there.
  void EndEvacuation();
  // Takes no lock.
  bool ShouldMove(const void* object) const;

  // Whether `bytes` fit without releasing anything first.
  bool HasRoom(uint64_t bytes, Priority priority = Priority::kNormal) const;
  // Counts `bytes` against the limit without allocating memory. False when an
  // allocation of this priority would fail. Unreserve gives them back.
  bool Reserve(uint64_t bytes, Priority priority);
  void Unreserve(uint64_t bytes);

  // Releases all free pages that are kept for reuse to the kernel. Allocations
  // do the same before they fail. Freeing releases some when more than a 32nd
  // of what is in use (at least 1 MiB) is kept.
  void ReleaseFreeMemory();

  uint64_t limit_bytes() const;
  // Resident pages (in use, kept for reuse, partly filled slabs, own tables)
  // and reservations.
  uint64_t used_bytes() const;
  // Of used_bytes(): pages, objects rounded up to their classes, reservations.
  uint64_t allocated_bytes() const;
  // Of used_bytes(): free parts of pages that live objects touch. Only moving
  // these objects releases them.
  uint64_t slack_bytes() const;

  // ---- Recovery of a memory file ----
  //
  // What a root in the file reaches must be stored before the root, and freed
  // after it no longer does: that is the caller's order. It is enough at any
  // instruction; nothing else has to be atomic.
  //
  // After Create, one thread claims all that it reaches from the root area.
  // FinishRecovery then frees the rest. Nothing may be allocated, freed or
  // reserved before that. Claims of anything, whatever a damaged file makes of
  // it, are harmless. They write nothing but what the arena itself rebuilds, so
  // a process that ends meanwhile leaves a file for the next.

  // StateFile::root_area, kRootAreaBytes; nullptr without a file.
  char* root_area() const;
  // Whether these bytes are aligned as objects are, and lie in one unit and on
  // pages that the file holds: they may be read. They may be garbage.
  bool Contains(const void* start, size_t bytes) const;
  // Marks an object as allocated. `bytes` is as it was given to Allocate.
  // kInvalid when it cannot have been: its place is not one of an object of
  // this size, or not in the file.
  Claim ClaimObject(const void* object, size_t bytes);
  // Adds a reference to a page; the first one allocates it. kInvalid as above.
  Claim ClaimPage(PageId page);
  // Ends recovery. Releases what nobody claimed to the kernel.
  void FinishRecovery();

  // Allocations and reservations fail from the n-th on (0: the next one).
  // Negative: none do. Those of Priority::kGuaranteed neither fail nor count.
  void FailAllocationsAfterForTest(int64_t n);

 private:
  struct Impl;
  explicit Arena(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_ARENA_H_
