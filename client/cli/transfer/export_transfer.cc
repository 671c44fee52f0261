#include "client/cli/transfer/export_transfer.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file_error.h"
#include "client/cli/local_file.h"
#include "client/cli/transfer/extent_walk.h"
#include "client/cli/transfer/read_pipeline.h"
#include "client/cli/transfer/transfer.h"
#include "client/cli/transfer/zeroes.h"
#include "client/remote_volume.h"

namespace ramvol::cli {
namespace {

class Exporter {
 public:
  Exporter(const RemoteVolume& volume, LocalFile& file,
           const ExportRequest& request, const TransferControl& control)
      : volume_(volume),
        file_(file),
        request_(request),
        control_(control),
        pipeline_(volume) {}

  absl::StatusOr<ExportResult> Run() {
    // Comes first: a file system that cannot hold such a file fails at once.
    absl::Status status = file_.random_access()
                              ? file_.Truncate(request_.length)
                              : absl::OkStatus();
    if (status.ok()) {
      status = WalkExtents(
          volume_, request_.offset, request_.length,
          [this](const Extent& extent) { return AddExtent(extent); });
    }
    while (status.ok() && !pipeline_.empty()) status = StoreNext();
    if (status.ok()) status = StoreZeroesUntil(request_.length);
    if (!status.ok()) return status;
    return result_;
  }

 private:
  absl::Status AddExtent(const Extent& extent) {
    if (control_.interrupted.load()) return InterruptedError();
    if (extent.hole) return absl::OkStatus();
    int64_t offset = extent.offset;
    int64_t left = extent.length;
    while (left > 0) {
      while (pipeline_.full()) {
        absl::Status stored = StoreNext();
        if (!stored.ok()) return stored;
      }
      const int64_t bytes = PieceBytes(offset, left);
      pipeline_.Push(offset, bytes);
      offset += bytes;
      left -= bytes;
    }
    return absl::OkStatus();
  }

  absl::Status StoreNext() {
    if (control_.interrupted.load()) return InterruptedError();
    absl::StatusOr<ReadPipeline::Piece> piece = pipeline_.Pop();
    if (!piece.ok()) return piece.status();
    const int64_t offset = piece->offset - request_.offset;
    absl::Status stored = StoreZeroesUntil(offset);
    if (stored.ok()) {
      stored = file_.random_access() ? StoreSparse(offset, piece->data)
                                     : StoreAll(piece->data);
    }
    if (!stored.ok()) return stored;
    const auto bytes = static_cast<int64_t>(piece->data.size());
    result_.read_bytes += bytes;
    control_.done_bytes += bytes;
    return absl::OkStatus();
  }

  absl::Status StoreSparse(int64_t offset, std::string_view data) {
    while (!data.empty()) {
      const HeadRun run = FindHeadRun(offset, data);
      if (!run.zero) {
        absl::Status stored = file_.WriteAt(offset, data.substr(0, run.length));
        if (!stored.ok()) return stored;
        result_.written_bytes += static_cast<int64_t>(run.length);
      }
      offset += static_cast<int64_t>(run.length);
      data.remove_prefix(run.length);
    }
    return absl::OkStatus();
  }

  absl::Status StoreAll(std::string_view data) {
    const auto bytes = static_cast<int64_t>(data.size());
    position_ += bytes;
    result_.written_bytes += bytes;
    return file_.Write(data);
  }

  // Writes zeroes up to `offset` into a file that is written in order.
  absl::Status StoreZeroesUntil(int64_t offset) {
    if (file_.random_access()) return absl::OkStatus();
    while (position_ < offset) {
      if (zeroes_.empty()) zeroes_.assign(kOperationBytes, '\0');
      const int64_t bytes = std::min(offset - position_, kOperationBytes);
      absl::Status stored =
          StoreAll(std::string_view(zeroes_).substr(0, bytes));
      if (!stored.ok()) return stored;
    }
    return absl::OkStatus();
  }

  const RemoteVolume& volume_;
  LocalFile& file_;
  const ExportRequest request_;
  const TransferControl& control_;
  ExportResult result_;
  // How many bytes were written to a file without random access.
  int64_t position_ = 0;
  std::string zeroes_;
  ReadPipeline pipeline_;
};

}  // namespace

absl::StatusOr<ExportResult> Export(const RemoteVolume& volume, LocalFile& file,
                                    const ExportRequest& request,
                                    const TransferControl& control) {
  return Exporter(volume, file, request, control).Run();
}

}  // namespace ramvol::cli
