#include "server/service/block_service.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/reason.h"
#include "proto/status.h"
#include "server/engine/volume.h"
#include "server/service/block_operations.h"
#include "server/service/call_message.h"
#include "server/service/io_stream.h"
#include "server/service/io_wire.h"
#include "server/service/limits.h"
#include "server/service/restore_stream.h"
#include "server/service/save_stream.h"
#include "server/service/unary.h"

namespace ramvol::service {
namespace {

// The reactor of an Io stream that is refused.
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
                         " Io streams open, or as many connections and "
                         "streams as its --client_memory allows; close some")
          : absl::StrCat("the client has its share of the server's ",
                         kMaxStreams, " Io streams open; close some");
  return WithReason(absl::ResourceExhaustedError(message),
                    reason::kTooManyStreams);
}

// Checks the request's if_unattached.
template <typename Request>
absl::Status CheckGuard(const Request& request, const engine::Volume& volume) {
  return request.if_unattached() ? volume.CheckUnattached() : absl::OkStatus();
}

}  // namespace

BlockService::BlockService(engine::Engine* engine, Catalog* catalog,
                           Executor* executor, CallGate* gate,
                           const CallAccess* access,
                           std::shared_ptr<ClientMemory> memory)
    : engine_(engine),
      executor_(executor),
      gate_(gate),
      access_(access),
      memory_(std::move(memory)),
      runner_(executor, gate, memory_),
      streams_(gate, memory_.get()),
      images_({engine, catalog, executor, gate, access, memory_}) {}

void BlockService::Drain() {
  streams_.DrainAll();
  images_.Drain();
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* BlockService::Save(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return SaveStream::Answer(&images_, context, request);
}

grpc::ServerReadReactor<grpc::ByteBuffer>* BlockService::Restore(
    grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
  return RestoreStream::Answer(&images_, context, response);
}

template <typename Request, typename Response, typename Call>
absl::Status BlockService::CallVolume(
    const grpc::CallbackServerContext& context, const Request& request,
    Response* response, const Call& call) const {
  if (request.volume().empty()) {
    return InvalidField("volume", "volume is empty; name a volume");
  }
  absl::Status status = access_->Run(context, request, [&] {
    auto found = engine_->Find(request.volume());
    return found.ok() ? call(**found, request, response) : found.status();
  });
  return WithMetadata(std::move(status), "volume", request.volume());
}

template <typename Request, typename Response, typename Call>
UnaryTask BlockService::OnVolume(grpc::CallbackServerContext* context,
                                 const grpc::ByteBuffer* request,
                                 grpc::ByteBuffer* response, Call call) const {
  return {
      .context = context,
      .request_bytes = request->Length(),
      .answer_bytes = 0,
      .response = response,
      .run = OnMessages<Request, Response>(
          request, response,
          [this, context, call](const Request& request, Response* response) {
            return CallVolume(*context, request, response, call);
          })};
}

bool BlockService::HasTurn(Turn& turn,
                           const grpc::CallbackServerContext& context,
                           const engine::Volume& volume, uint64_t bytes) const {
  auto identity = access_->LimiterOf(context);
  if (!volume.limiter()->limited() &&
      (identity == nullptr || !identity->limited())) {
    return true;
  }
  return turn.Take(UsageLimiters(std::move(identity), volume.limiter()),
                   {.bytes = bytes});
}

template <typename Request, typename Response, typename Bytes, typename Call>
UnaryTask BlockService::OnVolumeInTurn(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response,
                                       Bytes bytes_of, Call call) const {
  const auto run = [this, context, bytes_of, call](
                       Turn& turn, const Request& request, Response* response) {
    return CallVolume(*context, request, response,
                      [&](engine::Volume& volume, const Request& request,
                          Response* response) {
                        return HasTurn(turn, *context, volume,
                                       bytes_of(request))
                                   ? call(volume, request, response)
                                   : absl::OkStatus();
                      });
  };
  return {.context = context,
          .request_bytes = request->Length(),
          .answer_bytes = 0,
          .response = response,
          .run = nullptr,
          .run_in_turn = OnMessagesInTurn<Request, Response, Turn>(
              request, response, run)};
}

grpc::ServerUnaryReactor* BlockService::Read(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  v1::ReadRequest decoded;
  absl::Status status = DecodeSmallMessage(request, &decoded);
  if (!status.ok()) return UnaryRunner::Answer(context, status);
  // A longer read is refused.
  const int64_t length =
      std::clamp(decoded.length(), int64_t{0}, kMaxDataBytes);
  UnaryTask task{.context = context,
                 .request_bytes = 0,  // It is small, and decoded.
                 .answer_bytes = static_cast<size_t>(length),
                 .response = response,
                 .run = {}};
  task.run_in_turn = [this, context, decoded = std::move(decoded), response,
                      length](Turn& turn) {
    auto data = std::make_unique<std::string>();
    absl::Status read = CallVolume(
        *context, decoded, data.get(),
        [&](engine::Volume& volume, const v1::ReadRequest& request,
            std::string* data) {
          if (!HasTurn(turn, *context, volume, static_cast<uint64_t>(length))) {
            return absl::OkStatus();
          }
          return ReadBlocks(volume, request.offset(), request.length(), data);
        });
    if (read.ok() && !turn.waits()) {
      *response = EncodeReadResponse(std::move(data));
    }
    return read;
  };
  if (length <= kMaxInlineBytes) {
    return runner_.RunHere(Lane::kPrompt, std::move(task));
  }
  return runner_.Run(Lane::kPrompt, std::move(task));
}

grpc::ServerUnaryReactor* BlockService::Write(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = OnVolumeInTurn<v1::WriteRequest, v1::WriteResponse>(
      context, request, response,
      [](const v1::WriteRequest& request) { return request.data().size(); },
      [](engine::Volume& volume, const v1::WriteRequest& request,
         v1::WriteResponse*) {
        absl::Status may = CheckGuard(request, volume);
        if (!may.ok()) return may;
        return WriteBlocks(volume, request.offset(), request.data());
      });
  if (task.request_bytes > kMaxInlineMessageBytes) {
    return runner_.Run(Lane::kMayWait, std::move(task));
  }
  task.run_in_turn = [this, call = std::move(task.run_in_turn)](Turn& turn) {
    const int64_t began_ns = SteadyNowNs();
    absl::Status status = call(turn);
    if (!turn.waits()) write_cost_.Note(SteadyNowNs() - began_ns);
    return status;
  };
  // Where writers have to compress, even small writes are worth another thread.
  if (write_cost_.ns() > kWorthHandingOverNs) {
    return runner_.Run(Lane::kMayWait, std::move(task));
  }
  return runner_.RunHere(Lane::kMayWait, std::move(task));
}

grpc::ServerUnaryReactor* BlockService::Trim(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return runner_.Run(Lane::kPrompt,
                     OnVolume<v1::TrimRequest, v1::TrimResponse>(
                         context, request, response,
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
      Lane::kMayWait,
      OnVolumeInTurn<v1::WriteZeroesRequest, v1::WriteZeroesResponse>(
          context, request, response,
          [](const v1::WriteZeroesRequest&) { return uint64_t{0}; },
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
  return runner_.RunHere(
      Lane::kPrompt, OnVolume<v1::FlushRequest, v1::FlushResponse>(
                         context, request, response,
                         [](engine::Volume& volume, const v1::FlushRequest&,
                            v1::FlushResponse*) { return volume.Flush(); }));
}

template <typename Request, typename Response, typename Call>
grpc::ServerUnaryReactor* BlockService::RunExtents(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response, Call call) const {
  Request decoded;
  absl::Status status = DecodeSmallMessage(request, &decoded);
  if (!status.ok()) return UnaryRunner::Answer(context, status);
  UnaryTask task{.context = context,
                 .request_bytes = 0,  // It is small, and decoded.
                 .answer_bytes = ExtentsBytes(decoded.max_extents()),
                 .response = response,
                 .run = {}};
  task.run = [this, context, decoded = std::move(decoded), response, call] {
    Response answer;
    absl::Status status = CallVolume(*context, decoded, &answer, call);
    if (status.ok()) EncodeMessage(answer, response);
    return status;
  };
  return runner_.Run(Lane::kPrompt, std::move(task));
}

grpc::ServerUnaryReactor* BlockService::GetExtents(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return RunExtents<v1::GetExtentsRequest, v1::GetExtentsResponse>(
      context, request, response,
      [](engine::Volume& volume, const v1::GetExtentsRequest& request,
         v1::GetExtentsResponse* response) {
        int64_t next_offset = 0;
        absl::Status status = ListExtents(
            volume, request.offset(), request.length(), request.max_extents(),
            response->mutable_extents(), &next_offset);
        response->set_next_offset(next_offset);
        return status;
      });
}

grpc::ServerUnaryReactor* BlockService::GetChangedExtents(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return RunExtents<v1::GetChangedExtentsRequest,
                    v1::GetChangedExtentsResponse>(
      context, request, response,
      [this](engine::Volume& volume,
             const v1::GetChangedExtentsRequest& request,
             v1::GetChangedExtentsResponse* response) {
        int64_t next_offset = 0;
        absl::Status status = ListChangedExtents(
            volume, *engine_, request.since(), request.offset(),
            request.length(), request.max_extents(),
            response->mutable_extents(), &next_offset);
        response->set_next_offset(next_offset);
        return status;
      });
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* BlockService::Io(
    grpc::CallbackServerContext* context) {
  // Before it names a volume it already takes a place.
  const absl::Status may = access_->Check(*context, v1::IoRequest());
  if (!may.ok()) {
    access_->Note(*context, v1::IoRequest(), may);
    return new RefusedStream(may);
  }
  if (!gate_->Enter()) return new RefusedStream(ShuttingDownError());
  auto stream = std::make_shared<IoStream>(engine_, executor_, &streams_,
                                           access_, context);
  const IoStreamSet::Answer answer =
      memory_->MayOpen(ClientMemory::Stream().bytes)
          ? streams_.Add(stream, context->peer())
          : IoStreamSet::Answer::kFull;
  if (answer != IoStreamSet::Answer::kEntered) {
    gate_->Leave();
    return new RefusedStream(TooManyStreams(answer));
  }
  stream->Start();
  // Drain may have run before the stream was added.
  if (gate_->closed()) stream->Drain();
  return stream.get();
}

}  // namespace ramvol::service
