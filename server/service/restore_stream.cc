#include "server/service/restore_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "server/access/policy.h"
#include "server/access/role.h"
#include "server/service/call_access.h"
#include "server/service/call_message.h"
#include "server/service/image_settings.h"
#include "server/service/peer_text.h"

namespace ramvol::service {
grpc::ServerReadReactor<grpc::ByteBuffer>* RestoreStream::Answer(
    ImageStreams* streams, grpc::CallbackServerContext* context,
    grpc::ByteBuffer* response) {
  // Before it names a volume it already takes a place, and memory.
  const CallAccess& access = *streams->parts().access;
  absl::Status status = access.Check(*context, v1::RestoreRequest());
  if (!status.ok()) access.Note(*context, v1::RestoreRequest(), status);
  if (status.ok()) status = streams->Enter(*context);
  if (!status.ok()) {
    return new RefusedCall<grpc::ServerReadReactor<grpc::ByteBuffer>>(status);
  }
  const auto stream =
      std::make_shared<RestoreStream>(streams, context, response);
  streams->Add(stream);
  stream->session_entry_ =
      access.StayAllowed(*context, access::Right::kEnter, "", stream->Ender());
  stream->Start();
  return stream.get();
}

RestoreStream::RestoreStream(ImageStreams* streams,
                             grpc::CallbackServerContext* context,
                             grpc::ByteBuffer* response)
    : ImageCall(streams, context, kHeldBytes),
      response_(response),
      sink_([this](const qcow2::Header& header) { return Make(header); }),
      reader_(&sink_) {}

RestoreStream::~RestoreStream() {
  if (sink_.volume() == nullptr || published_) return;
  (void)parts_.engine->DeleteVolume(sink_.volume(), /*force=*/true);
}

void RestoreStream::Begin() {
  {
    MutexLock lock(&mu_);
    holder_.WaitsForClient(true);
  }
  StartRead(&incoming_);
}

void RestoreStream::OnReadDone(bool ok) {
  {
    MutexLock lock(&mu_);
    (ok ? arrived_ : all_came_) = true;
    if (finished_ || std::exchange(busy_, true)) return;
    holder_.WaitsForClient(false);
  }
  Continue();
}

RestoreStream::Turn RestoreStream::NextTurn(grpc::ByteBuffer* message) {
  MutexLock lock(&mu_);
  if (cancelled_ || draining_) return Turn::kStopped;
  if (std::exchange(arrived_, false)) {
    message->Swap(&incoming_);
    // A client that sends is not slow, whatever is held for it.
    holder_.SetHeld(kHeldBytes + message->Length());
    holder_.SetHeld(kHeldBytes);
    return Turn::kMessage;
  }
  if (all_came_) return Turn::kAllCame;
  busy_ = false;
  holder_.WaitsForClient(true);
  return Turn::kIdle;
}

void RestoreStream::Step() {
  grpc::ByteBuffer message;
  switch (NextTurn(&message)) {
    case Turn::kMessage: {
      StartRead(&incoming_);
      const absl::Status status = TakeIn(&message);
      if (status.ok()) {
        Continue();
      } else {
        End(status);
      }
      break;
    }
    case Turn::kAllCame:
      End(Complete());
      break;
    case Turn::kStopped:
      End(WhyStopped());
      break;
    case Turn::kIdle:
      break;
  }
}

absl::Status RestoreStream::TakeIn(grpc::ByteBuffer* message) {
  v1::RestoreRequest request;
  absl::Status status = DecodeMessage(message, &request);
  if (!status.ok()) return status;
  if (!any_) {
    any_ = true;
    wanted_ = std::move(*request.mutable_volume());
    status = CheckRestore(wanted_);
  } else if (request.has_volume()) {
    status = InvalidField("volume", "volume belongs to the first message only");
  }
  if (status.ok()) status = reader_.Feed(request.data());
  return WithMetadata(std::move(status), "volume", wanted_.name());
}

absl::StatusOr<std::shared_ptr<engine::Volume>> RestoreStream::Make(
    const qcow2::Header& header) {
  auto settings = RequestFor(header, wanted_);
  if (!settings.ok()) return settings.status();
  settings_ = *std::move(settings);
  const absl::Status may = MayCreate();
  if (!may.ok()) return may;
  session_entry_ = parts_.access->StayAllowed(
      *context_, access::Right::kCreate, settings_.name(), Ender(),
      access::Labels(settings_.labels().begin(), settings_.labels().end()));
  if (wanted_.allocator() != v1::ALLOCATOR_UNSPECIFIED) sink_.TryRaw();
  return parts_.catalog->CreateHidden(settings_);
}

// With the labels that it will have.
absl::Status RestoreStream::MayCreate() const {
  v1::RestoreRequest request;
  *request.mutable_volume() = settings_;
  absl::Status status = parts_.access->Check(*context_, request);
  if (!status.ok()) parts_.access->Note(*context_, request, status);
  return status;
}

absl::Status RestoreStream::Complete() {
  absl::Status status = reader_.Finish();
  if (status.ok()) status = MayCreate();
  const std::shared_ptr<engine::Volume>& volume = sink_.volume();
  if (status.ok() && wanted_.size_bytes() != 0) {
    // An image that followed may have changed it.
    engine::VolumeUpdate update;
    update.size_bytes = static_cast<uint64_t>(wanted_.size_bytes());
    if (*update.size_bytes < volume->size_bytes()) {
      status = InvalidField(
          "volume.size_bytes",
          absl::StrCat("volume.size_bytes is ", wanted_.size_bytes(),
                       ", less than the ", volume->size_bytes(),
                       " bytes of the images; leave it out"));
    } else {
      status = volume->Update(update);
    }
  }
  if (!status.ok()) return WithMetadata(status, "volume", wanted_.name());
  // The last moment at which it can be told from an end.
  if (context_->IsCancelled()) {
    return absl::CancelledError("the client is gone");
  }
  auto published = parts_.catalog->Publish(volume, settings_, PeerText(peer_));
  v1::RestoreRequest noted;
  *noted.mutable_volume() = settings_;
  parts_.access->Note(*context_, noted, published.status());
  if (!published.ok()) return published.status();
  published_ = true;
  v1::RestoreResponse response;
  *response.mutable_volume() = *std::move(published);
  EncodeMessage(response, response_);
  return absl::OkStatus();
}

void RestoreStream::Drain() {
  bool idle = false;
  {
    MutexLock lock(&mu_);
    draining_ = true;
    idle = !waits_ && !finished_ && !std::exchange(busy_, true);
    if (idle) holder_.WaitsForClient(false);
  }
  if (idle) Continue();
  ImageCall::Drain();
}

}  // namespace ramvol::service
