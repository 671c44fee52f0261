// The file on a tmpfs in which an arena outlives its process.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_STATE_FILE_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_STATE_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/file_descriptor.h"
#include "server/engine/memory/mapping.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/memory/state_header.h"

namespace ramvol::engine {

// DIR/arena, open, locked against other processes, and mapped at the address
// that it was first mapped at. What is stored in it stays there until it is
// given back, whatever ends the process, as long as the machine runs.
// state_header.h has the layout.
//
// Holds the lock until it is destroyed. Not thread-safe.
class StateFile {
 public:
  // Opens the memory file in `dir`, or makes both. `dir` is on a tmpfs.
  // `format` is a version of the structures that the caller keeps in the file;
  // it must be the same each time.
  //
  // FAILED_PRECONDITION, and nothing is changed: another process uses `dir`, it
  // is on no tmpfs, the file is of another version or damaged, it holds more
  // than `limit_bytes`, or its address is taken. The message says what to do.
  // RESOURCE_EXHAUSTED: there is not that much address space, or the tmpfs is
  // full. UNKNOWN: a system call failed.
  static absl::StatusOr<std::unique_ptr<StateFile>> Open(const std::string& dir,
                                                         uint64_t limit_bytes,
                                                         uint64_t format);

  StateFile(const StateFile&) = delete;
  StateFile& operator=(const StateFile&) = delete;

  // Whether Open made it.
  bool is_new() const { return is_new_; }
  // What the operator should know, for the log. Empty: nothing.
  const std::string& warning() const { return warning_; }
  const std::string& dir() const { return dir_; }
  uint64_t limit_bytes() const { return limit_bytes_; }
  // kRootAreaBytes, aligned to a page, that are the caller's: zeroed when the
  // file is made. They stay mapped as long as what TakeRange returned. For a
  // reader after a crash, they are in the state of some instant: all stores
  // before it in a thread's order are there, no later one is.
  char* root_area() const { return address_ + kPageBytes; }

  // All of the file, mapped, once. Borrows this object.
  Mapping TakeRange() { return *std::move(range_); }

  // Calls `visit(first, end)` for each run of pages that the file holds, in
  // ascending order. UNKNOWN when the kernel does not tell.
  template <typename Visit>
  absl::Status ForEachRun(Visit visit) const {
    PageRun run;
    while (true) {
      const absl::StatusOr<PageRun> next = NextRun(run.end);
      if (!next.ok()) return next.status();
      if (next->first == next->end) return absl::OkStatus();
      visit(next->first, next->end);
      run = *next;
    }
  }

 private:
  struct PageRun {
    uint64_t first = 0;
    uint64_t end = 0;
  };

  StateFile(std::string dir, uint64_t limit_bytes, FileDescriptor lock,
            FileDescriptor file);

  // Of Open, in this order. `header` is as it was read.
  absl::Status MakeFile(uint64_t format);
  absl::Status Reopen(const StateHeader& header, uint64_t format);
  absl::Status FinishOpen();

  absl::Status MapSomewhere(uint64_t file_bytes);
  absl::Status MapWithin(uint64_t first, uint64_t end, uint64_t file_bytes);
  absl::Status MapAt(uint64_t address, uint64_t file_bytes);
  absl::Status Grow(uint64_t file_bytes);
  absl::Status FillRootArea();
  absl::StatusOr<bool> IsEmpty(const StateHeader& header) const;
  absl::StatusOr<PageRun> NextRun(uint64_t from) const;
  std::string path() const;

  const std::string dir_;
  const uint64_t limit_bytes_;
  const FileDescriptor lock_;
  const FileDescriptor file_;
  bool is_new_ = false;
  std::string warning_;
  char* address_ = nullptr;
  std::optional<Mapping> range_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_STATE_FILE_H_
