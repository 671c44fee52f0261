#include "vhost_user/block_request.h"

#include <linux/virtio_blk.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace ramvol::vhost {
namespace {

// Scattered data goes through a buffer of this size, so that the engine sees
// whole frames of it.
constexpr size_t kBounceBytes = size_t{1} << 20;

// For synchronous devices, whose calls end before they return.
class Immediate final : public block::Completion {
 public:
  void Done(absl::Status status) override { status_ = std::move(status); }
  absl::Status Take() { return std::move(status_); }

 private:
  absl::Status status_;
};

// A thread's own, made when it is needed.
char* Bounce() {
  thread_local const std::unique_ptr<char[]> buffer(new char[kBounceBytes]);
  return buffer.get();
}

uint64_t TotalBytes(const Segments& segments) {
  uint64_t bytes = 0;
  for (const Segment& segment : segments) bytes += segment.bytes;
  return bytes;
}

// A place in a list of segments. Copies move it on.
class Cursor {
 public:
  explicit Cursor(const Segments& segments) : segments_(segments) {}

  void CopyOut(char* to, size_t bytes) {
    Move(bytes, [&](char* here, size_t some) {
      std::memcpy(to, here, some);
      to += some;
    });
  }
  void CopyIn(const char* from, size_t bytes) {
    Move(bytes, [&](char* here, size_t some) {
      std::memcpy(here, from, some);
      from += some;
    });
  }
  // The rest of the present segment, at most `bytes`; moves on.
  absl::Span<char> TakeRun(size_t bytes) {
    absl::Span<char> run = Peek(bytes);
    into_ += run.size();
    return run;
  }
  // The same, without moving.
  absl::Span<char> Peek(size_t bytes) {
    while (at_ < segments_.size() && into_ == segments_[at_].bytes) {
      ++at_;
      into_ = 0;
    }
    if (at_ == segments_.size()) return {};
    const Segment& segment = segments_[at_];
    return {segment.data + into_, std::min(bytes, segment.bytes - into_)};
  }

 private:
  template <typename Copy>
  void Move(size_t bytes, Copy copy) {
    while (bytes > 0) {
      const absl::Span<char> run = TakeRun(bytes);
      if (run.empty()) return;
      copy(run.data(), run.size());
      bytes -= run.size();
    }
  }

  const Segments& segments_;
  size_t at_ = 0;
  size_t into_ = 0;
};

absl::Status PastEnd(const RequestTarget& target, uint64_t sector,
                     uint64_t sectors) {
  return absl::OutOfRangeError(absl::StrCat(sectors, " sectors at sector ",
                                            sector, " end past the volume's ",
                                            target.capacity_sectors));
}

bool InRange(const RequestTarget& target, uint64_t sector, uint64_t sectors) {
  return sectors <= target.capacity_sectors &&
         sector <= target.capacity_sectors - sectors;
}

// How many of the next `left` bytes to move at once: those of a long segment in
// its place, of short ones as many as fit the bounce buffer.
struct Step {
  absl::Span<char> place;  // Empty: the bounce buffer.
  size_t bytes = 0;
};

Step NextStep(Cursor* data, uint64_t left) {
  const absl::Span<char> run = data->Peek(
      std::min<uint64_t>(left, block::BlockDevice::kMaxTransferBytes));
  if (run.size() == left || run.size() >= kBounceBytes) {
    return {data->TakeRun(run.size()), run.size()};
  }
  return {{}, std::min<uint64_t>(left, kBounceBytes)};
}

absl::Status ReadAll(const RequestTarget& target, uint64_t offset,
                     uint64_t bytes, Cursor data) {
  for (uint64_t left = bytes; left > 0;) {
    const Step step = NextStep(&data, left);
    Immediate done;
    const bool bounces = step.place.empty();
    target.device.Read(
        offset, bounces ? absl::Span<char>(Bounce(), step.bytes) : step.place,
        &done);
    absl::Status status = done.Take();
    if (!status.ok()) return status;
    if (bounces) data.CopyIn(Bounce(), step.bytes);
    offset += step.bytes;
    left -= step.bytes;
  }
  return absl::OkStatus();
}

absl::Status WriteAll(const RequestTarget& target, uint64_t offset,
                      uint64_t bytes, Cursor data) {
  for (uint64_t left = bytes; left > 0;) {
    const Step step = NextStep(&data, left);
    if (step.place.empty()) data.CopyOut(Bounce(), step.bytes);
    Immediate done;
    target.device.Write(offset,
                        step.place.empty()
                            ? absl::Span<const char>(Bounce(), step.bytes)
                            : step.place,
                        &done);
    absl::Status status = done.Take();
    if (!status.ok()) return status;
    offset += step.bytes;
    left -= step.bytes;
  }
  return absl::OkStatus();
}

// A request on its way: its header, and what is left of its buffers.
struct Parsed {
  virtio_blk_outhdr header;
  Cursor readable;
  uint64_t readable_bytes;  // Behind the header.
  uint64_t writable_bytes;  // Before the status.
};

absl::Status CheckData(const RequestTarget& target, const Parsed& request,
                       uint64_t bytes) {
  constexpr uint64_t kMaxBytes = uint64_t{kMaxSegments} * kMaxSegmentBytes;
  if (bytes > kMaxBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(bytes, " bytes are more than the limits of ", kMaxBytes));
  }
  if (bytes % kSectorBytes != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(bytes, " bytes are no whole sectors"));
  }
  if (!InRange(target, request.header.sector, bytes / kSectorBytes)) {
    return PastEnd(target, request.header.sector, bytes / kSectorBytes);
  }
  return absl::OkStatus();
}

absl::Status ExecuteRead(const RequestTarget& target, const Chain& chain,
                         const Parsed& request, RequestResult* result) {
  absl::Status status = CheckData(target, request, request.writable_bytes);
  if (!status.ok()) return status;
  // A failed read may have changed them, too.
  result->written = static_cast<uint32_t>(request.writable_bytes);
  return ReadAll(target, request.header.sector * kSectorBytes,
                 request.writable_bytes, Cursor(chain.writable));
}

absl::Status CheckWritable(const RequestTarget& target) {
  if (!target.read_only) return absl::OkStatus();
  return absl::FailedPreconditionError("the device is read-only");
}

absl::Status ExecuteWrite(const RequestTarget& target, const Parsed& request) {
  absl::Status status = CheckWritable(target);
  if (status.ok()) status = CheckData(target, request, request.readable_bytes);
  if (!status.ok()) return status;
  return WriteAll(target, request.header.sector * kSectorBytes,
                  request.readable_bytes, request.readable);
}

absl::Status Zero(const RequestTarget& target, bool discard,
                  const virtio_blk_discard_write_zeroes& range) {
  const uint32_t allowed = discard ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
  if ((range.flags & ~allowed) != 0) {
    return absl::UnimplementedError(
        absl::StrCat("a range with the flags ", range.flags));
  }
  if (range.num_sectors > kMaxZeroSectors) {
    return absl::InvalidArgumentError(
        absl::StrCat("a range of ", range.num_sectors, " sectors; at most ",
                     kMaxZeroSectors, " are accepted"));
  }
  if (!InRange(target, range.sector, range.num_sectors)) {
    return PastEnd(target, range.sector, range.num_sectors);
  }
  const uint64_t offset = range.sector * kSectorBytes;
  const uint64_t bytes = uint64_t{range.num_sectors} * kSectorBytes;
  Immediate done;
  if (discard) {
    target.device.Trim(offset, bytes, &done);
  } else {
    const bool no_hole =
        (range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) == 0;
    target.device.WriteZeroes(offset, bytes, no_hole, &done);
  }
  return done.Take();
}

absl::Status ExecuteZero(const RequestTarget& target, bool discard,
                         Parsed request) {
  absl::Status status = CheckWritable(target);
  if (!status.ok()) return status;
  using Range = virtio_blk_discard_write_zeroes;
  const uint64_t count = request.readable_bytes / sizeof(Range);
  if (count > kMaxZeroRanges || request.readable_bytes % sizeof(Range) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(request.readable_bytes,
                                                   " bytes are not 1 to ",
                                                   kMaxZeroRanges, " ranges"));
  }
  for (uint64_t i = 0; status.ok() && i < count; ++i) {
    Range range{};
    request.readable.CopyOut(reinterpret_cast<char*>(&range), sizeof(range));
    status = Zero(target, discard, range);
  }
  return status;
}

absl::Status ExecuteGetId(const RequestTarget& target, const Chain& chain,
                          const Parsed& request, RequestResult* result) {
  std::array<char, VIRTIO_BLK_ID_BYTES> id = {};
  std::memcpy(id.data(), target.id.data(),
              std::min(target.id.size(), id.size()));
  const size_t bytes = std::min<uint64_t>(request.writable_bytes, id.size());
  Cursor(chain.writable).CopyIn(id.data(), bytes);
  result->written = static_cast<uint32_t>(bytes);
  return absl::OkStatus();
}

absl::Status Dispatch(const RequestTarget& target, const Chain& chain,
                      const Parsed& request, RequestResult* result) {
  switch (request.header.type) {
    case VIRTIO_BLK_T_IN:
      result->kind = RequestKind::kRead;
      return ExecuteRead(target, chain, request, result);
    case VIRTIO_BLK_T_OUT:
      result->kind = RequestKind::kWrite;
      return ExecuteWrite(target, request);
    case VIRTIO_BLK_T_FLUSH: {
      result->kind = RequestKind::kFlush;
      Immediate done;
      target.device.Flush(&done);
      return done.Take();
    }
    case VIRTIO_BLK_T_GET_ID:
      result->kind = RequestKind::kGetId;
      return ExecuteGetId(target, chain, request, result);
    case VIRTIO_BLK_T_DISCARD:
      result->kind = RequestKind::kDiscard;
      return ExecuteZero(target, /*discard=*/true, request);
    case VIRTIO_BLK_T_WRITE_ZEROES:
      result->kind = RequestKind::kWriteZeroes;
      return ExecuteZero(target, /*discard=*/false, request);
    default:
      return absl::UnimplementedError(
          absl::StrCat("requests of type ", request.header.type));
  }
}

}  // namespace

absl::StatusOr<RequestResult> Execute(const RequestTarget& target,
                                      const Chain& chain) {
  const uint64_t readable = TotalBytes(chain.readable);
  const uint64_t writable = TotalBytes(chain.writable);
  Parsed request{{}, Cursor(chain.readable), 0, 0};
  if (readable < sizeof(request.header) || writable == 0 ||
      writable > UINT32_MAX) {
    return absl::InvalidArgumentError(absl::StrCat("a request of ", readable,
                                                   " bytes to read and ",
                                                   writable, " to write"));
  }
  request.readable.CopyOut(reinterpret_cast<char*>(&request.header),
                           sizeof(request.header));
  request.readable_bytes = readable - sizeof(request.header);
  request.writable_bytes = writable - 1;
  RequestResult result;
  result.why = Dispatch(target, chain, request, &result);
  uint8_t status = VIRTIO_BLK_S_OK;
  if (absl::IsUnimplemented(result.why)) {
    result.result = ResultKind::kUnsupported;
    status = VIRTIO_BLK_S_UNSUPP;
  } else if (!result.why.ok()) {
    result.result = ResultKind::kIoError;
    status = VIRTIO_BLK_S_IOERR;
  }
  const Segment& last = chain.writable.back();
  std::memcpy(last.data + (last.bytes - 1), &status, 1);
  return result;
}

}  // namespace ramvol::vhost
