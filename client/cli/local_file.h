// A local file, block device or pipe that a command reads or writes.
#ifndef RAMVOL_CLIENT_CLI_LOCAL_FILE_H_
#define RAMVOL_CLIENT_CLI_LOCAL_FILE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace ramvol::cli {

// An open file. Errors are FileErrors (client/cli/errors.h) that name the file,
// the position and the cause; InterruptedError once `*interrupted` is set while
// a call waits for a pipe. Offsets count from where the file was handed over:
// standard input may stand anywhere in a regular file.
//
// Not thread-safe. The destructor closes, and says nothing about errors: a
// writer calls Close.
class LocalFile {
 public:
  // Opens `path`; "-" means `standard_fd`, which is not closed.
  static absl::StatusOr<LocalFile> OpenForReading(
      const std::string& path, int standard_fd,
      const std::atomic<bool>& interrupted);
  // Makes `path`, or empties the file that is there.
  static absl::StatusOr<LocalFile> OpenForWriting(
      const std::string& path, int standard_fd,
      const std::atomic<bool>& interrupted);

  LocalFile(LocalFile&& other) noexcept;
  LocalFile& operator=(LocalFile&&) = delete;
  ~LocalFile();

  // For messages: the path, or "standard input" and the like.
  const std::string& name() const { return name_; }

  // When reading: has a size and can be read at any offset. When writing: can
  // be written at any offset, and what is not written reads as zero.
  bool random_access() const { return random_access_; }
  // As of opening; 0 unless random_access().
  int64_t size_bytes() const { return size_bytes_; }

  struct Run {
    int64_t offset = 0;
    int64_t length = 0;  // 0: no data up to the end.
  };
  // The first run of data at or after `offset` and before size_bytes(). Where
  // the file system cannot tell, all is data.
  absl::StatusOr<Run> NextData(int64_t offset) const;
  // The size now, which another program may have changed.
  absl::StatusOr<int64_t> CurrentSize() const;

  // Fill `out`, or less at the end of the file, and return how much.
  absl::StatusOr<size_t> ReadAt(int64_t offset, absl::Span<char> out) const;
  absl::StatusOr<size_t> Read(absl::Span<char> out);
  // The first bytes of what is to be read, at most `max`; Read gives them
  // again. Once, and before Read.
  absl::StatusOr<std::string> Peek(size_t max);

  absl::Status WriteAt(int64_t offset, std::string_view data) const;
  absl::Status Write(std::string_view data);
  // Sets the size; only with random_access().
  absl::Status Truncate(int64_t size_bytes) const;

  // OK twice. Reports what a file system finds out only then.
  absl::Status Close();
  // Removes the file if OpenForWriting made it; true if it did.
  bool RemoveIfCreated();

 private:
  LocalFile(int fd, bool owned, std::string name,
            const std::atomic<bool>& interrupted);
  absl::Status Inspect(bool for_writing);
  absl::Status WaitReadable() const;
  absl::StatusOr<size_t> ReadHere(absl::Span<char> out);

  int fd_;
  const bool owned_;
  const std::string name_;
  const std::atomic<bool>* const interrupted_;
  bool created_ = false;
  bool random_access_ = false;
  int64_t base_offset_ = 0;  // Where the file begins for us.
  int64_t size_bytes_ = 0;
  int64_t position_ = 0;  // Of Read and Write, for messages.
  std::string peeked_;    // Of a pipe; Read takes it first.
};

// Writes all of `data` to `fd`; `name` is for the error's message.
absl::Status WriteAll(int fd, std::string_view data, const std::string& name);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_LOCAL_FILE_H_
