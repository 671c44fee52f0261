#include "server/service/block_service.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/base/clock.h"
#include "proto/base/reason.h"
#include "proto/status.h"
#include "server/engine/volume.h"
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

absl::Status TooManyStreams(IoStreamSet::Answer why) {
  const std::string message =
      why == IoStreamSet::Answer::kFull
          ? absl::StrCat("the server has ", kMaxStreams,
                         " Io streams open, the most that it keeps; close some")
          : absl::StrCat("the client has its share of the server's ",
                         kMaxStreams, " Io streams open; close some");
  return WithReason(absl::ResourceExhaustedError(message),
                    reason::kTooManyStreams);
}

grpc::ByteBuffer EmptyMessage() {
  const grpc::Slice nothing;
  return grpc::ByteBuffer(&nothing, 1);
}

// Whether the change may begin.
template <typename Request>
absl::Status CheckGuard(const Request& request, const engine::Volume& volume) {
  return request.if_unattached() ? volume.CheckUnattached() : absl::OkStatus();
}

absl::Status DecodeWrite(grpc::ByteBuffer* bytes, v1::WriteRequest* request) {
  const grpc::Status status =
      grpc::SerializationTraits<v1::WriteRequest>::Deserialize(bytes, request);
  if (status.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "the message is no ramvol.v1.WriteRequest: ", status.error_message()));
}

}  // namespace

BlockService::BlockService(engine::Engine* engine, Executor* executor,
                           CallGate* gate, size_t message_bytes)
    : engine_(engine),
      executor_(executor),
      gate_(gate),
      runner_(executor, gate),
      writes_(message_bytes),
      reads_(message_bytes),
      streams_(gate, &writes_) {}

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
  // What is too long is refused. gRPC copies the answer.
  const int64_t length = std::min(request->length(), kMaxDataBytes);
  return runner_.RunInside(
      &reads_, 2 * static_cast<size_t>(length), context, Lane::kPrompt,
      [this, request, call] { return CallVolume(request->volume(), call); });
}

absl::Status BlockService::RunWrite(grpc::ByteBuffer bytes) const {
  v1::WriteRequest request;
  absl::Status status = DecodeWrite(&bytes, &request);
  if (!status.ok()) return status;
  return CallVolume(request.volume(), [&request](engine::Volume& volume) {
    absl::Status may = CheckGuard(request, volume);
    if (!may.ok()) return may;
    return WriteBlocks(volume, request.offset(), request.data());
  });
}

grpc::ServerUnaryReactor* BlockService::Write(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  *response = EmptyMessage();
  // Taken out of the call, so that it is gone once it is decoded.
  auto bytes = std::make_shared<grpc::ByteBuffer>();
  bytes->Swap(const_cast<grpc::ByteBuffer*>(request));
  const size_t length = bytes->Length();
  auto call = [this, bytes] { return RunWrite(std::exchange(*bytes, {})); };
  if (length > kMaxInlineMessageBytes) {
    return runner_.RunInside(&writes_, length, context, Lane::kMayWait, call);
  }
  auto timed = [this, call] {
    const int64_t began_ns = SteadyNowNs();
    absl::Status status = call();
    write_cost_.Note(SteadyNowNs() - began_ns);
    return status;
  };
  if (write_cost_.ns() > kWorthHandingOverNs) {
    return runner_.Run(context, Lane::kMayWait, timed);
  }
  return runner_.RunHere(context, timed);
}

grpc::ServerUnaryReactor* BlockService::Trim(
    grpc::CallbackServerContext* context, const v1::TrimRequest* request,
    v1::TrimResponse*) {
  return Submit(context, Lane::kPrompt, request->volume(),
                [request](engine::Volume& volume) {
                  absl::Status may = CheckGuard(*request, volume);
                  if (!may.ok()) return may;
                  return TrimBlocks(volume, request->offset(),
                                    request->length());
                });
}

grpc::ServerUnaryReactor* BlockService::WriteZeroes(
    grpc::CallbackServerContext* context, const v1::WriteZeroesRequest* request,
    v1::WriteZeroesResponse*) {
  return Submit(context, Lane::kMayWait, request->volume(),
                [request](engine::Volume& volume) {
                  absl::Status may = CheckGuard(*request, volume);
                  if (!may.ok()) return may;
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
  const IoStreamSet::Answer answer = streams_.Add(stream, context->peer());
  if (answer != IoStreamSet::Answer::kEntered) {
    gate_->Leave();
    return new RefusedStream(TooManyStreams(answer));
  }
  stream->Start();
  return stream.get();
}

}  // namespace ramvol::service
