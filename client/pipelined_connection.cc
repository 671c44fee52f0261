#include "client/pipelined_connection.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/call.h"
#include "client/client_counters.h"
#include "client/extent.h"
#include "client/io_transport.h"
#include "client/options.h"
#include "client/pipeline.h"
#include "client/timer.h"
#include "client/volume_connection.h"
#include "client/waiter.h"

namespace ramvol {
namespace {

Request NewRequest(OperationKind kind, int64_t offset, int64_t length) {
  Request request;
  request.kind = kind;
  request.offset = offset;
  request.length = length;
  return request;
}

// See OperationResult::extents.
absl::StatusOr<std::vector<ChangedExtent>> ToChanges(
    const absl::StatusOr<std::vector<Extent>>& extents) {
  if (!extents.ok()) return extents.status();
  std::vector<ChangedExtent> changes;
  changes.reserve(extents->size());
  for (const Extent& extent : *extents) {
    changes.push_back({extent.offset, extent.length, extent.hole});
  }
  return changes;
}

}  // namespace

PipelinedConnection::PipelinedConnection(
    std::shared_ptr<VolumePipeline> pipeline, bool wait)
    : pipeline_(std::move(pipeline)), wait_(wait) {}

PipelinedConnection::~PipelinedConnection() { pipeline_->Release(wait_); }

void PipelinedConnection::ReadAsync(int64_t offset, absl::Span<char> out,
                                    Done done) {
  Request request = NewRequest(OperationKind::kRead, offset, out.size());
  request.out = out.data();
  request.done = std::move(done);
  pipeline_->Submit(std::move(request));
}

void PipelinedConnection::WriteAsync(int64_t offset, std::string_view data,
                                     Done done) {
  Request request = NewRequest(OperationKind::kWrite, offset, data.size());
  request.data = data.data();
  request.done = std::move(done);
  pipeline_->Submit(std::move(request));
}

void PipelinedConnection::TrimAsync(int64_t offset, int64_t length, Done done) {
  Request request = NewRequest(OperationKind::kTrim, offset, length);
  request.done = std::move(done);
  pipeline_->Submit(std::move(request));
}

void PipelinedConnection::WriteZeroesAsync(int64_t offset, int64_t length,
                                           bool no_hole, Done done) {
  Request request = NewRequest(OperationKind::kWriteZeroes, offset, length);
  request.no_hole = no_hole;
  request.done = std::move(done);
  pipeline_->Submit(std::move(request));
}

void PipelinedConnection::FlushAsync(Done done) {
  // One flush suffices for all streams: it covers all operations that were
  // answered before, over any stream.
  Request request = NewRequest(OperationKind::kFlush, 0, 0);
  request.done = std::move(done);
  pipeline_->Submit(std::move(request));
}

void PipelinedConnection::ExtentsAsync(int64_t offset, int64_t length,
                                       int32_t max_extents, ExtentsDone done) {
  Request request = NewRequest(OperationKind::kGetExtents, offset, length);
  request.max_extents = max_extents;
  request.extents_done = std::move(done);
  pipeline_->Submit(std::move(request));
}

void PipelinedConnection::ChangesAsync(const std::string& since, int64_t offset,
                                       int64_t length, int32_t max_extents,
                                       ChangesDone done) {
  Request request =
      NewRequest(OperationKind::kGetChangedExtents, offset, length);
  request.since = since;
  request.max_extents = max_extents;
  request.extents_done =
      [done = std::move(done)](
          const absl::StatusOr<std::vector<Extent>>& extents) {
        done(ToChanges(extents));
      };
  pipeline_->Submit(std::move(request));
}

void PipelinedConnection::Together(absl::FunctionRef<void()> start) {
  pipeline_->Together(start);
}

int64_t PipelinedConnection::size_bytes() const {
  return pipeline_->size_bytes();
}

bool PipelinedConnection::read_only() const { return pipeline_->read_only(); }

absl::StatusOr<std::shared_ptr<VolumeConnection>> OpenPipelined(
    const std::string& volume, const ClientOptions& options,
    std::shared_ptr<IoTransport> transport, std::shared_ptr<Timer> timer,
    std::shared_ptr<ClientCounters> counters, const OpenOptions& open_options) {
  auto pipeline = std::make_shared<VolumePipeline>(
      volume, options, std::move(transport), std::move(timer),
      std::move(counters), open_options);
  auto connection =
      std::make_shared<PipelinedConnection>(pipeline, /*wait=*/true);
  const absl::Status opened = WaitFor<absl::Status>(
      [&](VolumeConnection::Done done) { pipeline->Open(std::move(done)); });
  if (!opened.ok()) return opened;
  return connection;
}

}  // namespace ramvol
