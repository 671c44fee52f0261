// Serves one file to the kernel by FUSE: the content of a volume.
#ifndef RAMVOL_CSI_FUSE_FILE_H_
#define RAMVOL_CSI_FUSE_FILE_H_

#include <linux/fuse.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/file_descriptor.h"
#include "client/remote_volume.h"

namespace ramvol::csi_driver {

// The file is the root of its file system, so there is nothing to look up.
// Requests run at the same time and are answered in any order; while ramvold is
// away, they wait as the SDK's options say. Discards (holes that are punched)
// become holes of the volume.
//
// The file has the size that the volume had. It grows by truncate(2), which
// grows no volume: whoever calls it knows that the volume has grown. It never
// shrinks.
class FuseFile {
 public:
  // The kernel sends at most so much data at a time, and so many requests that
  // nobody waits for one by one.
  static constexpr size_t kMaxWriteBytes = size_t{1} << 20;
  static constexpr uint16_t kMaxBackground = 64;

  // `fuse` is /dev/fuse, non-blocking, of which a file system was or will be
  // mounted. `name` is the volume's, for the log.
  FuseFile(FileDescriptor fuse, RemoteVolume volume, std::string name);
  // Operations under way go on, and keep `fuse` open.
  ~FuseFile();

  FuseFile(const FuseFile&) = delete;
  FuseFile& operator=(const FuseFile&) = delete;

  // Answers requests until the file is unmounted, then returns OK. ABORTED,
  // NOT_FOUND: ramvold has the volume no more, or another one of its name.
  absl::Status Serve();

 private:
  class Replies;

  // False when the file is unmounted.
  bool TakeRequests();
  void Handle(const fuse_in_header& in, absl::Span<const char> body);
  void Init(const fuse_in_header& in, absl::Span<const char> body);
  void SendAttributes(uint64_t unique);
  void SendFileSystem(uint64_t unique);
  void Resize(const fuse_in_header& in, absl::Span<const char> body);
  void Open(const fuse_in_header& in);
  void Read(const fuse_in_header& in, absl::Span<const char> body);
  void Write(const fuse_in_header& in, absl::Span<const char> body);
  void Allocate(const fuse_in_header& in, absl::Span<const char> body);
  // Answers a request that has no content with an operation's status.
  RemoteVolume::Done Answer(uint64_t unique) const;

  // Shared with operations under way.
  const std::shared_ptr<Replies> replies_;
  const RemoteVolume volume_;
  // Used by Serve's thread alone.
  uint64_t size_bytes_;
  std::unique_ptr<char[]> buffer_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_FUSE_FILE_H_
