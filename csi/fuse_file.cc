#include "csi/fuse_file.h"

#include <limits.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/event_log.h"
#include "base/file_descriptor.h"
#include "base/log_line.h"
#include "base/mutex.h"
#include "base/reason.h"
#include "client/remote_volume.h"

namespace ramvol::csi_driver {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kBufferBytes = FuseFile::kMaxWriteBytes + kPageBytes;
// What has come meanwhile goes to ramvold together.
constexpr int kMaxTogether = 32;
// The size of fuse_init_out, and max_pages, are of later versions than this.
constexpr uint32_t kMinMinor = 28;

// A request's fixed part; false when the kernel sent less, which it never does.
template <typename T>
bool Parse(absl::Span<const char> body, T* out) {
  if (body.size() < sizeof(T)) return false;
  std::memcpy(out, body.data(), sizeof(T));
  return true;
}

bool IsGone(const absl::Status& status) {
  return absl::IsAborted(status) || absl::IsNotFound(status);
}

int ErrnoOf(const absl::Status& status) {
  if (status.ok()) return 0;
  const std::string why = GetReason(status);
  if (why == reason::kServerMemoryLimit || why == reason::kVolumeMemoryLimit) {
    return ENOSPC;
  }
  if (why == reason::kVolumeReadOnly || why == reason::kReadOnlySnapshot) {
    return EROFS;
  }
  return EIO;
}

}  // namespace

// Answers the kernel, from any thread.
class FuseFile::Replies {
 public:
  Replies(FileDescriptor fuse, std::string name)
      : fuse_(std::move(fuse)),
        gone_event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        name_(std::move(name)) {}

  int fuse() const { return fuse_.get(); }
  // Readable once the volume is gone.
  int gone_event() const { return gone_event_.get(); }
  absl::Status gone() {
    const MutexLock lock(&mu_);
    return gone_;
  }

  // It may be that nobody waits any more, so errors say nothing.
  void Send(uint64_t unique, int error, absl::Span<const char> data = {}) {
    fuse_out_header out = {};
    out.len = static_cast<uint32_t>(sizeof(out) + data.size());
    out.error = -error;
    out.unique = unique;
    const iovec parts[] = {{&out, sizeof(out)},
                           {const_cast<char*>(data.data()), data.size()}};
    [[maybe_unused]] const ssize_t sent =
        writev(fuse_.get(), parts, data.empty() ? 1 : 2);
  }
  template <typename T>
  void SendStruct(uint64_t unique, const T& data) {
    Send(unique, 0, {reinterpret_cast<const char*>(&data), sizeof(data)});
  }
  void SendStatus(uint64_t unique, const absl::Status& status,
                  absl::Span<const char> data = {}) {
    const int error = Judge(status);
    Send(unique, error, error == 0 ? data : absl::Span<const char>());
  }

 private:
  // Logs a status that differs from the last one, and notes the end.
  int Judge(const absl::Status& status) {
    // Load first: while requests succeed, no thread writes the shared line.
    if (last_code_.load(std::memory_order_relaxed) != status.code() &&
        last_code_.exchange(status.code(), std::memory_order_relaxed) !=
            status.code()) {
      LogEvent(status.ok() ? Event::kRequestsSucceed : Event::kRequestsFail,
               {.volume = name_,
                .reason = status.ok() ? "" : GetReason(status),
                .message = std::string(status.message())});
    }
    if (IsGone(status)) End(status);
    return ErrnoOf(status);
  }
  void End(const absl::Status& status) {
    {
      const MutexLock lock(&mu_);
      gone_ = status;
    }
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written =
        write(gone_event_.get(), &one, sizeof(one));
  }

  const FileDescriptor fuse_;
  const FileDescriptor gone_event_;
  const std::string name_;
  std::atomic<absl::StatusCode> last_code_{absl::StatusCode::kOk};
  Mutex mu_;
  absl::Status gone_ ABSL_GUARDED_BY(mu_);
};

FuseFile::FuseFile(FileDescriptor fuse, RemoteVolume volume, std::string name)
    : replies_(std::make_shared<Replies>(std::move(fuse), std::move(name))),
      volume_(std::move(volume)),
      size_bytes_(static_cast<uint64_t>(volume_.size_bytes())),
      buffer_(std::make_unique<char[]>(kBufferBytes)) {}

FuseFile::~FuseFile() = default;

absl::Status FuseFile::Serve() {
  while (true) {
    pollfd waits[] = {
        {.fd = replies_->fuse(), .events = POLLIN, .revents = 0},
        {.fd = replies_->gone_event(), .events = POLLIN, .revents = 0}};
    if (poll(waits, 2, -1) < 0 && errno != EINTR) {
      return absl::InternalError(std::strerror(errno));
    }
    if (waits[1].revents != 0) return replies_->gone();
    bool mounted = true;
    volume_.Together([&] { mounted = TakeRequests(); });
    if (!mounted) return absl::OkStatus();
  }
}

bool FuseFile::TakeRequests() {
  for (int i = 0; i < kMaxTogether; ++i) {
    const ssize_t n = read(replies_->fuse(), buffer_.get(), kBufferBytes);
    if (n < 0 && errno == EAGAIN) return true;
    // ENOENT: whoever asked has given up.
    if (n < 0 && (errno == EINTR || errno == ENOENT)) continue;
    fuse_in_header in = {};
    if (n < static_cast<ssize_t>(sizeof(in))) return false;
    std::memcpy(&in, buffer_.get(), sizeof(in));
    Handle(in,
           {buffer_.get() + sizeof(in), static_cast<size_t>(n) - sizeof(in)});
  }
  return true;
}

void FuseFile::Handle(const fuse_in_header& in, absl::Span<const char> body) {
  switch (in.opcode) {
    case FUSE_INIT:
      return Init(in, body);
    case FUSE_GETATTR:
      return SendAttributes(in.unique);
    case FUSE_SETATTR:
      return Resize(in, body);
    case FUSE_OPEN:
      return Open(in);
    case FUSE_READ:
      return Read(in, body);
    case FUSE_WRITE:
      return Write(in, body);
    case FUSE_FALLOCATE:
      return Allocate(in, body);
    case FUSE_FSYNC:
      return volume_.FlushAsync(Answer(in.unique));
    case FUSE_STATFS:
      return SendFileSystem(in.unique);
    case FUSE_FLUSH:
    case FUSE_RELEASE:
    case FUSE_DESTROY:
      return replies_->Send(in.unique, 0);
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
      // They expect no answer.
      return;
    default:
      return replies_->Send(in.unique, ENOSYS);
  }
}

void FuseFile::Init(const fuse_in_header& in, absl::Span<const char> body) {
  fuse_init_in asked = {};
  std::memcpy(&asked, body.data(), std::min(body.size(), sizeof(asked)));
  fuse_init_out answer = {};
  answer.major = FUSE_KERNEL_VERSION;
  answer.minor = std::min<uint32_t>(asked.minor, FUSE_KERNEL_MINOR_VERSION);
  if (asked.major < FUSE_KERNEL_VERSION ||
      (asked.major == FUSE_KERNEL_VERSION && asked.minor < kMinMinor)) {
    return replies_->Send(in.unique, EPROTO);
  }
  answer.flags = asked.flags & (FUSE_ASYNC_READ | FUSE_BIG_WRITES |
                                FUSE_ASYNC_DIO | FUSE_MAX_PAGES);
  answer.max_readahead = asked.max_readahead;
  answer.max_background = kMaxBackground;
  answer.congestion_threshold = kMaxBackground;
  answer.max_write = kMaxWriteBytes;
  answer.max_pages = kMaxWriteBytes / kPageBytes;
  answer.time_gran = 1;
  replies_->SendStruct(in.unique, answer);
}

void FuseFile::SendAttributes(uint64_t unique) {
  // Valid for no time, so that the kernel always asks.
  fuse_attr_out answer = {};
  answer.attr.ino = FUSE_ROOT_ID;
  answer.attr.size = size_bytes_;
  answer.attr.mode = S_IFREG | S_IRUSR | S_IWUSR;
  answer.attr.nlink = 1;
  answer.attr.blksize = kPageBytes;
  replies_->SendStruct(unique, answer);
}

void FuseFile::SendFileSystem(uint64_t unique) {
  fuse_statfs_out answer = {};
  // Since Linux 5.18 a loop device discards in units of bsize, and until 6.9
  // it discards nothing when that is 0.
  answer.st.bsize = kPageBytes;
  answer.st.frsize = kPageBytes;
  answer.st.blocks = size_bytes_ / kPageBytes;
  answer.st.namelen = NAME_MAX;
  replies_->SendStruct(unique, answer);
}

void FuseFile::Resize(const fuse_in_header& in, absl::Span<const char> body) {
  fuse_setattr_in asked = {};
  if (!Parse(body, &asked)) return replies_->Send(in.unique, EINVAL);
  if ((asked.valid & FATTR_SIZE) != 0) {
    if (asked.size < size_bytes_) return replies_->Send(in.unique, EINVAL);
    size_bytes_ = asked.size;
  }
  SendAttributes(in.unique);
}

void FuseFile::Open(const fuse_in_header& in) {
  // Nothing of it is cached: the loop device over it has a cache.
  fuse_open_out answer = {};
  answer.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
  replies_->SendStruct(in.unique, answer);
}

void FuseFile::Read(const fuse_in_header& in, absl::Span<const char> body) {
  fuse_read_in asked = {};
  if (!Parse(body, &asked)) return replies_->Send(in.unique, EINVAL);
  const uint64_t left =
      asked.offset < size_bytes_ ? size_bytes_ - asked.offset : 0;
  const size_t length = std::min<uint64_t>(asked.size, left);
  if (length == 0) return replies_->Send(in.unique, 0);
  const auto data = std::make_shared_for_overwrite<char[]>(length);
  volume_.ReadAsync(static_cast<int64_t>(asked.offset), {data.get(), length},
                    [replies = replies_, unique = in.unique, data,
                     length](const absl::Status& status) {
                      replies->SendStatus(unique, status, {data.get(), length});
                    });
}

void FuseFile::Write(const fuse_in_header& in, absl::Span<const char> body) {
  fuse_write_in asked = {};
  if (!Parse(body, &asked)) return replies_->Send(in.unique, EINVAL);
  body.remove_prefix(sizeof(asked));
  const size_t length = body.size();
  if (length != asked.size) return replies_->Send(in.unique, EINVAL);
  // The buffer is for the next request.
  const auto data = std::make_shared_for_overwrite<char[]>(length);
  std::copy(body.begin(), body.end(), data.get());
  volume_.WriteAsync(
      static_cast<int64_t>(asked.offset), {data.get(), length},
      [replies = replies_, unique = in.unique, data,
       length](const absl::Status& status) {
        fuse_write_out answer = {};
        answer.size = static_cast<uint32_t>(length);
        replies->SendStatus(
            unique, status,
            {reinterpret_cast<const char*>(&answer), sizeof(answer)});
      });
}

void FuseFile::Allocate(const fuse_in_header& in, absl::Span<const char> body) {
  fuse_fallocate_in asked = {};
  if (!Parse(body, &asked)) return replies_->Send(in.unique, EINVAL);
  const bool punch = (asked.mode & FALLOC_FL_PUNCH_HOLE) != 0;
  if (!punch && (asked.mode & FALLOC_FL_ZERO_RANGE) == 0) {
    return replies_->Send(in.unique, EOPNOTSUPP);
  }
  // Not a trim, which may leave parts of blocks: these read as zero.
  volume_.WriteZeroesAsync(static_cast<int64_t>(asked.offset),
                           static_cast<int64_t>(asked.length),
                           /*no_hole=*/!punch, Answer(in.unique));
}

RemoteVolume::Done FuseFile::Answer(uint64_t unique) const {
  return [replies = replies_, unique](const absl::Status& status) {
    replies->SendStatus(unique, status);
  };
}

}  // namespace ramvol::csi_driver
