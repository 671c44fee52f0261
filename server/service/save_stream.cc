#include "server/service/save_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "server/access/role.h"
#include "server/service/call_access.h"
#include "server/service/call_message.h"
#include "server/service/image_settings.h"
#include "server/service/io_wire.h"
#include "server/service/peer_text.h"
#include "server/service/uid.h"

namespace ramvol::service {
namespace {

absl::Status CheckRequest(const v1::SaveRequest& request) {
  if (request.volume().empty()) {
    return InvalidField("volume", "volume is empty; name a volume");
  }
  if (request.since().empty() != request.backing_file().empty()) {
    return InvalidField("backing_file",
                        "since and backing_file go together; name the snapshot "
                        "and the file that has its content");
  }
  if (!request.since().empty() && request.since()[0] != '@') {
    return InvalidField("since",
                        absl::StrCat("since is \"", request.since(),
                                     "\"; name a snapshot, \"@NAME\""));
  }
  return absl::OkStatus();
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* SaveStream::Answer(
    ImageStreams* streams, grpc::CallbackServerContext* context,
    const grpc::ByteBuffer* request) {
  v1::SaveRequest decoded;
  absl::Status status = DecodeSmallMessage(request, &decoded);
  if (status.ok()) status = CheckRequest(decoded);
  if (status.ok()) {
    const CallAccess& access = *streams->parts().access;
    status =
        access.Run(*context, decoded, [&] { return streams->Enter(*context); });
  }
  if (!status.ok()) {
    return new RefusedCall<grpc::ServerWriteReactor<grpc::ByteBuffer>>(status);
  }
  const auto stream =
      std::make_shared<SaveStream>(streams, context, std::move(decoded));
  streams->Add(stream);
  stream->StayAllowed();
  stream->Start();
  return stream.get();
}

SaveStream::SaveStream(ImageStreams* streams,
                       grpc::CallbackServerContext* context,
                       v1::SaveRequest request)
    : ImageCall(streams, context, kHeldBytes), request_(std::move(request)) {}

SaveStream::~SaveStream() {
  writer_.reset();
  source_.reset();
  if (hidden_ == nullptr) return;
  (void)parts_.engine->DeleteVolume(hidden_, /*force=*/true);
}

void SaveStream::StayAllowed() {
  for (const std::string& name : {request_.volume(), request_.since()}) {
    if (name.empty()) continue;
    session_entries_.push_back(parts_.access->StayAllowed(
        *context_, access::Right::kRead, name, Ender()));
  }
}

void SaveStream::Step() {
  absl::Status status = WhyStopped();
  if (status.ok() && writer_ == nullptr) {
    status = Open();
    if (!status.ok()) {
      End(status);
    } else {
      Send(FirstMessage());
    }
    return;
  }
  if (!status.ok() || writer_->done()) {
    End(status);
    return;
  }
  auto data = std::make_unique<std::string>();
  data->reserve(kMessageBytes + 2 * qcow2::kClusterBytes);
  status = writer_->Append(kMessageBytes, data.get());
  if (!status.ok()) {
    End(WithMetadata(std::move(status), "volume", request_.volume()));
  } else {
    Send(EncodeReadResponse(std::move(data)));
  }
}

void SaveStream::Send(grpc::ByteBuffer message) {
  {
    MutexLock lock(&mu_);
    outgoing_ = std::move(message);
    // What is sent counts as given back then, so that only a client that takes
    // nothing is slow.
    holder_.SetHeld(kHeldBytes + kMessageBytes);
    holder_.WaitsForClient(true);
  }
  StartWrite(&outgoing_);
}

void SaveStream::OnWriteDone(bool ok) {
  {
    MutexLock lock(&mu_);
    holder_.WaitsForClient(false);
    holder_.SetHeld(kHeldBytes);
    cancelled_ = cancelled_ || !ok;
  }
  outgoing_.Clear();
  Continue();
}

absl::Status SaveStream::Attach(const std::string& name,
                                std::shared_ptr<engine::Volume>* volume,
                                std::optional<engine::Attachment>* attachment) {
  auto found = parts_.engine->Find(name);
  if (!found.ok()) return found.status();
  auto attached = engine::Attachment::Make(*found, {"save", PeerText(peer_)});
  if (!attached.ok()) return attached.status();
  *volume = *std::move(found);
  attachment->emplace(*std::move(attached));
  return absl::OkStatus();
}

absl::Status SaveStream::Open() {
  absl::Status status = Attach(request_.volume(), &snapshot_, &attachment_);
  if (!status.ok()) {
    return WithMetadata(std::move(status), "volume", request_.volume());
  }
  if (!request_.since().empty()) {
    status = Attach(request_.since(), &since_, &since_attachment_);
    if (!status.ok()) {
      return WithMetadata(std::move(status), "snapshot", request_.since());
    }
  }
  auto settings = parts_.catalog->Get(request_.volume());
  if (!settings.ok()) return settings.status();
  if (!snapshot_->is_snapshot()) {
    auto hidden = parts_.engine->SnapshotHidden(snapshot_);
    if (!hidden.ok()) return hidden.status();
    hidden_ = *std::move(hidden);
    snapshot_ = hidden_;
    attachment_.reset();  // What becomes of the volume does not matter now.
  }
  qcow2::Header header;
  header.backing_file = request_.backing_file();
  if (since_ != nullptr) header.backing_format = "qcow2";
  header.origin.emplace();
  header.origin->size_bytes = snapshot_->size_bytes();
  header.origin->id = snapshot_->uid();
  header.origin->parent = since_ == nullptr ? 0 : since_->uid();
  header.origin->settings = EncodeSettings(*settings);
  source_ = std::make_unique<archive::VolumeSource>(snapshot_, since_);
  auto writer = qcow2::StreamWriter::Make(source_.get(), std::move(header),
                                          /*digest=*/true);
  if (!writer.ok()) {
    return WithMetadata(writer.status(), "volume", request_.volume());
  }
  writer_ = *std::move(writer);
  return absl::OkStatus();
}

grpc::ByteBuffer SaveStream::FirstMessage() const {
  v1::SaveResponse response;
  v1::SaveInfo& info = *response.mutable_info();
  info.set_image_bytes(static_cast<int64_t>(writer_->file_bytes()));
  info.set_size_bytes(static_cast<int64_t>(snapshot_->size_bytes()));
  info.set_uid(FormatUid(snapshot_->uid()));
  grpc::ByteBuffer message;
  EncodeMessage(response, &message);
  return message;
}

}  // namespace ramvol::service
