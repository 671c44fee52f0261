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

// An open file. Offset 0 is where the file was positioned at opening: standard
// input may stand in the middle of a regular file.
//
// Errors are FileErrors (base/file_error.h) that name the file, the position
// and the cause. A call that waits for a pipe fails with InterruptedError once
// `*interrupted` is set.
//
// Not thread-safe. The destructor closes the file without reporting errors, so
// a writer must call Close.
class LocalFile {
 public:
  // Opens `path`. "-" means `standard_fd`, which stays open.
  static absl::StatusOr<LocalFile> OpenForReading(
      const std::string& path, int standard_fd,
      const std::atomic<bool>& interrupted);
  // Creates `path`, or empties an existing file.
  static absl::StatusOr<LocalFile> OpenForWriting(
      const std::string& path, int standard_fd,
      const std::atomic<bool>& interrupted);

  // The same, but `path` is there, or changes, only with Replace: until then
  // the file has another name, beside it. What is no regular file, such as a
  // device, is written itself.
  static absl::StatusOr<LocalFile> OpenForReplacing(
      const std::string& path, int standard_fd,
      const std::atomic<bool>& interrupted);

  LocalFile(LocalFile&& other) noexcept;
  LocalFile& operator=(LocalFile&&) = delete;
  ~LocalFile();

  // For messages: the path, or "standard input" and the like.
  const std::string& name() const { return name_; }

  // For reading: the file has a size and can be read at any offset. For
  // writing: the file can be written at any offset, and other bytes read as
  // zero.
  bool random_access() const { return random_access_; }
  // The size at opening. 0 unless random_access().
  int64_t size_bytes() const { return size_bytes_; }

  struct Run {
    int64_t offset = 0;
    int64_t length = 0;  // 0: there is no data up to the end.
  };
  // The first run of data at or after `offset` and before size_bytes(). If the
  // file system cannot tell holes, all is data.
  absl::StatusOr<Run> NextData(int64_t offset) const;
  // The size now. Another program may have changed it.
  absl::StatusOr<int64_t> CurrentSize() const;

  // Fill `out`, or a part of it at the end of the file. Return how many bytes
  // were read.
  absl::StatusOr<size_t> ReadAt(int64_t offset, absl::Span<char> out) const;
  absl::StatusOr<size_t> Read(absl::Span<char> out);
  // Returns the first bytes of the file, at most `max`. Read returns them
  // again. Call it at most once, before Read.
  absl::StatusOr<std::string> Peek(size_t max);

  absl::Status WriteAt(int64_t offset, std::string_view data) const;
  absl::Status Write(std::string_view data);
  // Sets the size. Only with random_access().
  absl::Status Truncate(int64_t size_bytes) const;

  // Closes the file, and reports errors that the file system finds only then. A
  // second call does nothing.
  absl::Status Close();
  // Closes a file of OpenForReplacing when all of it is on its disk, and gives
  // it its name.
  absl::Status Replace();
  // Removes the file if it was created, and not replaced. True if it did.
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
  std::string path_;  // Until Replace, if it is another one than name_.
  bool created_ = false;
  bool random_access_ = false;
  int64_t base_offset_ = 0;  // The file's own offset of our offset 0.
  int64_t size_bytes_ = 0;
  int64_t position_ = 0;  // Of Read and Write, for messages.
  std::string peeked_;    // Bytes of a pipe that Read returns first.
};

// Writes all of `data` to `fd`. An error's message has `name`.
absl::Status WriteAll(int fd, std::string_view data, const std::string& name);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_LOCAL_FILE_H_
