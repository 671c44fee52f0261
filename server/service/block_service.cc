#include "server/service/block_service.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/clock.h"
#include "proto/base/reason.h"
#include "proto/status.h"
#include "server/service/block_operations.h"
#include "server/service/limits.h"
#include "server/service/unary.h"

namespace ramvol::service {
namespace {

// An Io stream that is refused.
class RefusedStream final
    : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit RefusedStream(const absl::Status& status) {
    Finish(ToGrpcStatus(status));
  }
  void OnDone() override { delete this; }
};

absl::Status TooManyStreams() {
  return absl::ResourceExhaustedError(
      absl::StrCat("the server has ", kMaxStreams,
                   " Io streams open, the most that it keeps; close some"));
}

}  // namespace

BlockService::BlockService(engine::Engine* engine, Executor* executor,
                           CallGate* gate)
    : engine_(engine),
      executor_(executor),
      gate_(gate),
      runner_(executor, gate),
      streams_(gate) {}

void BlockService::Drain() { streams_.DrainAll(); }

absl::Status BlockService::CallVolume(const std::string& volume,
                                      const Call& call) const {
  if (volume.empty()) {
    return InvalidField("volume", "volume is empty; name a volume");
  }
  auto found = engine_->Find(volume);
  return found.ok() ? call(**found) : found.status();
}

grpc::ServerUnaryReactor* BlockService::Submit(
    grpc::CallbackServerContext* context, Lane lane, const std::string& volume,
    Call call) {
  return runner_.Run(context, lane, [this, &volume, call = std::move(call)] {
    return CallVolume(volume, call);
  });
}

grpc::ServerUnaryReactor* BlockService::Read(
    grpc::CallbackServerContext* context, const v1::ReadRequest* request,
    v1::ReadResponse* response) {
  auto call = [request, response](engine::Volume& volume) {
    return ReadBlocks(volume, request->offset(), request->length(),
                      response->mutable_data());
  };
  if (request->length() <= kMaxInlineBytes) {
    return UnaryRunner::Answer(context, CallVolume(request->volume(), call));
  }
  return Submit(context, Lane::kPrompt, request->volume(), call);
}

grpc::ServerUnaryReactor* BlockService::Write(
    grpc::CallbackServerContext* context, const v1::WriteRequest* request,
    v1::WriteResponse*) {
  auto call = [request](engine::Volume& volume) {
    return WriteBlocks(volume, request->offset(), request->data());
  };
  if (request->data().size() > kMaxInlineBytes) {
    return Submit(context, Lane::kMayWait, request->volume(), call);
  }
  auto timed = [this, call](engine::Volume& volume) {
    const int64_t began_ns = SteadyNowNs();
    absl::Status status = call(volume);
    write_cost_.Note(SteadyNowNs() - began_ns);
    return status;
  };
  if (write_cost_.ns() > kWorthHandingOverNs) {
    return Submit(context, Lane::kMayWait, request->volume(), timed);
  }
  return runner_.RunHere(context,
                         [&] { return CallVolume(request->volume(), timed); });
}

grpc::ServerUnaryReactor* BlockService::Trim(
    grpc::CallbackServerContext* context, const v1::TrimRequest* request,
    v1::TrimResponse*) {
  return Submit(context, Lane::kPrompt, request->volume(),
                [request](engine::Volume& volume) {
                  return TrimBlocks(volume, request->offset(),
                                    request->length());
                });
}

grpc::ServerUnaryReactor* BlockService::WriteZeroes(
    grpc::CallbackServerContext* context, const v1::WriteZeroesRequest* request,
    v1::WriteZeroesResponse*) {
  return Submit(context, Lane::kMayWait, request->volume(),
                [request](engine::Volume& volume) {
                  return ZeroBlocks(volume, request->offset(),
                                    request->length(), request->no_hole());
                });
}

grpc::ServerUnaryReactor* BlockService::Flush(
    grpc::CallbackServerContext* context, const v1::FlushRequest* request,
    v1::FlushResponse*) {
  return UnaryRunner::Answer(
      context, CallVolume(request->volume(), [](engine::Volume& volume) {
        return volume.Flush();
      }));
}

grpc::ServerUnaryReactor* BlockService::GetExtents(
    grpc::CallbackServerContext* context, const v1::GetExtentsRequest* request,
    v1::GetExtentsResponse* response) {
  return Submit(context, Lane::kPrompt, request->volume(),
                [request, response](engine::Volume& volume) {
                  int64_t next_offset = 0;
                  absl::Status status =
                      ListExtents(volume, request->offset(), request->length(),
                                  request->max_extents(),
                                  response->mutable_extents(), &next_offset);
                  response->set_next_offset(next_offset);
                  return status;
                });
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* BlockService::Io(
    grpc::CallbackServerContext* context) {
  if (!gate_->Enter()) return new RefusedStream(ShuttingDownError());
  auto stream =
      std::make_shared<IoStream>(engine_, executor_, &streams_, context);
  if (!streams_.Add(stream)) {
    gate_->Leave();
    return new RefusedStream(TooManyStreams());
  }
  stream->Start();
  return stream.get();
}

}  // namespace ramvol::service
