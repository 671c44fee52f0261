#include "client/pipelined_connection.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/call_table.h"
#include "client/io_transport.h"
#include "client/options.h"
#include "client/pipeline.h"
#include "client/timer.h"
#include "client/volume_connection.h"
#include "client/waiter.h"

namespace ramvol {
namespace {

std::shared_ptr<Call> NewCall(OperationKind kind, int64_t offset,
                              int64_t length) {
  auto call = std::make_shared<Call>();
  call->kind = kind;
  call->offset = offset;
  call->length = length;
  return call;
}

}  // namespace

PipelinedConnection::PipelinedConnection(
    std::shared_ptr<VolumePipeline> pipeline, bool wait)
    : pipeline_(std::move(pipeline)), wait_(wait) {}

PipelinedConnection::~PipelinedConnection() { pipeline_->Release(wait_); }

void PipelinedConnection::ReadAsync(int64_t offset, absl::Span<char> out,
                                    Done done) {
  auto call = NewCall(OperationKind::kRead, offset, out.size());
  call->out = out.data();
  call->done = std::move(done);
  pipeline_->Submit(std::move(call));
}

void PipelinedConnection::WriteAsync(int64_t offset, std::string_view data,
                                     Done done) {
  auto call = NewCall(OperationKind::kWrite, offset, data.size());
  call->data = data.data();
  call->done = std::move(done);
  pipeline_->Submit(std::move(call));
}

void PipelinedConnection::TrimAsync(int64_t offset, int64_t length, Done done) {
  auto call = NewCall(OperationKind::kTrim, offset, length);
  call->done = std::move(done);
  pipeline_->Submit(std::move(call));
}

void PipelinedConnection::WriteZeroesAsync(int64_t offset, int64_t length,
                                           bool no_hole, Done done) {
  auto call = NewCall(OperationKind::kWriteZeroes, offset, length);
  call->no_hole = no_hole;
  call->done = std::move(done);
  pipeline_->Submit(std::move(call));
}

void PipelinedConnection::FlushAsync(Done done) {
  // One is enough for all streams: what was answered before, over any of them,
  // is covered.
  auto call = NewCall(OperationKind::kFlush, 0, 0);
  call->done = std::move(done);
  pipeline_->Submit(std::move(call));
}

void PipelinedConnection::ExtentsAsync(int64_t offset, int64_t length,
                                       int32_t max_extents, ExtentsDone done) {
  auto call = NewCall(OperationKind::kGetExtents, offset, length);
  call->max_extents = max_extents;
  call->extents_done = std::move(done);
  pipeline_->Submit(std::move(call));
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
