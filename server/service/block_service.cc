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
#include "server/service/call_message.h"
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

// Whether the change may begin.
template <typename Request>
absl::Status CheckGuard(const Request& request, const engine::Volume& volume) {
  return request.if_unattached() ? volume.CheckUnattached() : absl::OkStatus();
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

template <typename Request, typename Response, typename Call>
absl::Status BlockService::CallVolume(const Request& request,
                                      Response* response,
                                      const Call& call) const {
  if (request.volume().empty()) {
    return InvalidField("volume", "volume is empty; name a volume");
  }
  auto found = engine_->Find(request.volume());
  return found.ok() ? call(**found, request, response) : found.status();
}

template <typename Request, typename Response, typename Call>
std::function<absl::Status()> BlockService::OnVolume(
    const grpc::ByteBuffer* request, grpc::ByteBuffer* response,
    Call call) const {
  return OnMessages<Request, Response>(
      request, response,
      [this, call](const Request& request, Response* response) {
        return CallVolume(request, response, call);
      });
}

grpc::ServerUnaryReactor* BlockService::Read(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  v1::ReadRequest decoded;
  absl::Status status =
      DecodeMessage(const_cast<grpc::ByteBuffer*>(request), &decoded);
  if (!status.ok()) {
    return UnaryRunner::Answer(context, status);
  }
  const int64_t length = decoded.length();
  auto call = [this, decoded = std::move(decoded), response] {
    v1::ReadResponse answer;
    absl::Status read = CallVolume(
        decoded, &answer,
        [](engine::Volume& volume, const v1::ReadRequest& request,
           v1::ReadResponse* response) {
          return ReadBlocks(volume, request.offset(), request.length(),
                            response->mutable_data());
        });
    if (read.ok()) EncodeMessage(answer, response);
    return read;
  };
  if (length <= kMaxInlineBytes) return UnaryRunner::Answer(context, call());
  // What is too long is refused. The answer is encoded as a copy.
  return runner_.RunInside(
      &reads_, 2 * static_cast<size_t>(std::min(length, kMaxDataBytes)),
      context, Lane::kPrompt, std::move(call));
}

grpc::ServerUnaryReactor* BlockService::Write(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  const size_t length = request->Length();
  auto call = OnVolume<v1::WriteRequest, v1::WriteResponse>(
      request, response,
      [](engine::Volume& volume, const v1::WriteRequest& request,
         v1::WriteResponse*) {
        absl::Status may = CheckGuard(request, volume);
        if (!may.ok()) return may;
        return WriteBlocks(volume, request.offset(), request.data());
      });
  if (length > kMaxInlineMessageBytes) {
    return runner_.RunInside(&writes_, length, context, Lane::kMayWait,
                             std::move(call));
  }
  auto timed = [this, call = std::move(call)] {
    const int64_t began_ns = SteadyNowNs();
    absl::Status status = call();
    write_cost_.Note(SteadyNowNs() - began_ns);
    return status;
  };
  if (write_cost_.ns() > kWorthHandingOverNs) {
    return runner_.Run(context, Lane::kMayWait, std::move(timed));
  }
  return runner_.RunHere(context, timed);
}

grpc::ServerUnaryReactor* BlockService::Trim(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return runner_.Run(context, Lane::kPrompt,
                     OnVolume<v1::TrimRequest, v1::TrimResponse>(
                         request, response,
                         [](engine::Volume& volume,
                            const v1::TrimRequest& request, v1::TrimResponse*) {
                           absl::Status may = CheckGuard(request, volume);
                           if (!may.ok()) return may;
                           return TrimBlocks(volume, request.offset(),
                                             request.length());
                         }));
}

grpc::ServerUnaryReactor* BlockService::WriteZeroes(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return runner_.Run(
      context, Lane::kMayWait,
      OnVolume<v1::WriteZeroesRequest, v1::WriteZeroesResponse>(
          request, response,
          [](engine::Volume& volume, const v1::WriteZeroesRequest& request,
             v1::WriteZeroesResponse*) {
            absl::Status may = CheckGuard(request, volume);
            if (!may.ok()) return may;
            return ZeroBlocks(volume, request.offset(), request.length(),
                              request.no_hole());
          }));
}

grpc::ServerUnaryReactor* BlockService::Flush(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  const auto call = OnVolume<v1::FlushRequest, v1::FlushResponse>(
      request, response,
      [](engine::Volume& volume, const v1::FlushRequest&, v1::FlushResponse*) {
        return volume.Flush();
      });
  return UnaryRunner::Answer(context, call());
}

grpc::ServerUnaryReactor* BlockService::GetExtents(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return runner_.Run(
      context, Lane::kPrompt,
      OnVolume<v1::GetExtentsRequest, v1::GetExtentsResponse>(
          request, response,
          [](engine::Volume& volume, const v1::GetExtentsRequest& request,
             v1::GetExtentsResponse* response) {
            int64_t next_offset = 0;
            absl::Status status =
                ListExtents(volume, request.offset(), request.length(),
                            request.max_extents(), response->mutable_extents(),
                            &next_offset);
            response->set_next_offset(next_offset);
            return status;
          }));
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
  // It may have come too late for Drain to see it.
  if (gate_->closed()) stream->Drain();
  return stream.get();
}

}  // namespace ramvol::service
