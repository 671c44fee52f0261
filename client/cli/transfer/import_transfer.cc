#include "client/cli/transfer/import_transfer.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/file_error.h"
#include "base/reason.h"
#include "client/cli/local_file.h"
#include "client/cli/transfer/transfer.h"
#include "client/cli/transfer/write_pipeline.h"
#include "client/cli/transfer/zeroes.h"
#include "client/remote_volume.h"

namespace ramvol::cli {
namespace {

class Importer {
 public:
  Importer(LocalFile& source, const RemoteVolume& volume,
           const ImportRequest& request, const TransferControl& control)
      : source_(source),
        request_(request),
        control_(control),
        pipeline_(volume, control.changed) {}

  absl::StatusOr<ImportResult> Run() {
    absl::Status sent =
        source_.random_access() ? SendRandomAccess() : SendStream();
    if (sent.ok()) sent = FlushZeroes();
    absl::Status drained = pipeline_.Drain();
    // If both failed, the failed write is the cause.
    if (!drained.ok()) return drained;
    if (!sent.ok()) return sent;
    return result_;
  }

 private:
  absl::Status SendRandomAccess() {
    const int64_t size = source_.size_bytes();
    if (size > request_.room_bytes) return TooLong(absl::StrCat(size));
    int64_t offset = 0;
    while (offset < size) {
      absl::StatusOr<LocalFile::Run> run = source_.NextData(offset);
      if (!run.ok()) return run.status();
      absl::Status sent = AddZeroes(offset, run->offset - offset);
      if (sent.ok()) sent = SendRun(*run);
      if (!sent.ok()) return sent;
      offset = run->offset + run->length;
    }
    result_.source_bytes = size;
    return CheckNotShortened();
  }

  absl::Status SendRun(const LocalFile::Run& run) {
    int64_t offset = run.offset;
    int64_t left = run.length;
    while (left > 0) {
      const int64_t bytes = PieceBytes(request_.volume_offset + offset, left);
      if (control_.interrupted.load()) return InterruptedError();
      const absl::Span<char> piece = NewPiece(bytes);
      absl::StatusOr<size_t> got = source_.ReadAt(offset, piece);
      if (!got.ok()) return got.status();
      if (static_cast<int64_t>(*got) < bytes) return Shortened(offset + *got);
      absl::Status sent = SendPiece(offset, bytes);
      if (!sent.ok()) return sent;
      offset += bytes;
      left -= bytes;
    }
    return absl::OkStatus();
  }

  absl::Status SendStream() {
    int64_t offset = 0;
    for (;;) {
      const int64_t wanted =
          PieceBytes(request_.volume_offset + offset, kOperationBytes);
      if (control_.interrupted.load()) return InterruptedError();
      absl::StatusOr<size_t> got = source_.Read(NewPiece(wanted));
      if (!got.ok()) return got.status();
      const int64_t bytes = static_cast<int64_t>(*got);
      if (bytes > request_.room_bytes - offset) {
        return TooLong(absl::StrCat("more than ", request_.room_bytes));
      }
      absl::Status sent = SendPiece(offset, bytes);
      if (!sent.ok()) return sent;
      offset += bytes;
      result_.source_bytes = offset;
      if (bytes < wanted) return absl::OkStatus();
    }
  }

  // Memory for the next piece of the source.
  absl::Span<char> NewPiece(int64_t bytes) {
    if (piece_.size != bytes || piece_.memory == nullptr) {
      piece_ = pipeline_.NewBuffer(bytes);
    }
    return absl::MakeSpan(piece_.memory.get(), static_cast<size_t>(bytes));
  }

  // Sends the blocks that are not zero of the first `bytes` of the piece.
  absl::Status SendPiece(int64_t offset, int64_t bytes) {
    std::string_view rest(piece_.memory.get(), static_cast<size_t>(bytes));
    while (!rest.empty()) {
      const HeadRun run = FindHeadRun(request_.volume_offset + offset, rest);
      const auto run_bytes = static_cast<int64_t>(run.length);
      absl::Status sent = run.zero
                              ? AddZeroes(offset, run_bytes)
                              : SendData(offset, rest.substr(0, run.length));
      if (!sent.ok()) return sent;
      rest.remove_prefix(run.length);
      offset += run_bytes;
    }
    control_.done_bytes += bytes;
    return absl::OkStatus();
  }

  // Sends data of the piece. A write may keep the piece's buffer only if the
  // data fills it. Otherwise, a file with little data would fill the memory
  // with zeroes.
  absl::Status SendData(int64_t offset, std::string_view data) {
    const auto bytes = static_cast<int64_t>(data.size());
    result_.sent_bytes += bytes;
    offset += request_.volume_offset;
    if (bytes < piece_.size) return pipeline_.WriteCopy(offset, data);
    return pipeline_.Write(offset, std::move(piece_));
  }

  // Notes a range that must read as zero. Adjacent ranges become one trim.
  absl::Status AddZeroes(int64_t offset, int64_t length) {
    if (length == 0 || request_.fresh) return absl::OkStatus();
    if (zero_length_ > 0 && zero_offset_ + zero_length_ == offset) {
      zero_length_ += length;
      return absl::OkStatus();
    }
    absl::Status flushed = FlushZeroes();
    zero_offset_ = offset;
    zero_length_ = length;
    return flushed;
  }

  absl::Status FlushZeroes() {
    if (zero_length_ == 0) return absl::OkStatus();
    return pipeline_.Trim(request_.volume_offset + zero_offset_,
                          std::exchange(zero_length_, 0));
  }

  // A shorter file looks like one with a hole at its end.
  absl::Status CheckNotShortened() const {
    absl::StatusOr<int64_t> size = source_.CurrentSize();
    if (!size.ok()) return size.status();
    return *size < source_.size_bytes() ? Shortened(*size) : absl::OkStatus();
  }

  absl::Status Shortened(int64_t size) const {
    return WithReason(
        absl::UnknownError(absl::StrCat(
            source_.name(), " became shorter while it was read: it had ",
            source_.size_bytes(), " bytes, now it ends at ", size,
            "; import it again when nothing changes it")),
        "FILE_CHANGED");
  }

  absl::Status TooLong(const std::string& size) const {
    return WithReason(
        absl::OutOfRangeError(absl::StrCat(
            source_.name(), " has ", size, " bytes, but from offset ",
            request_.volume_offset, " on the volume has room for ",
            request_.room_bytes, "; grow the volume with \"ramvol resize\"")),
        reason::kPastEnd);
  }

  LocalFile& source_;
  const ImportRequest request_;
  const TransferControl& control_;
  ImportResult result_;
  // A run of zeroes that is not trimmed yet, in the source's offsets.
  int64_t zero_offset_ = 0;
  int64_t zero_length_ = 0;
  WritePipeline pipeline_;
  WritePipeline::Buffer piece_{nullptr, 0};  // The piece that is read and sent.
};

}  // namespace

absl::StatusOr<ImportResult> Import(LocalFile& source,
                                    const RemoteVolume& volume,
                                    const ImportRequest& request,
                                    const TransferControl& control) {
  absl::StatusOr<ImportResult> result =
      Importer(source, volume, request, control).Run();
  if (!result.ok()) return result;
  absl::Status flushed = volume.Flush();
  if (!flushed.ok()) return flushed;
  return result;
}

}  // namespace ramvol::cli
