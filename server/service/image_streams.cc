#include "server/service/image_streams.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "base/peer.h"
#include "base/reason.h"

namespace ramvol::service {
namespace {

std::array<std::string, 2> PathOf(const std::string& peer) {
  return {PeerOf(peer), peer};
}

}  // namespace

absl::Status ImageStreams::Enter(const grpc::CallbackServerContext& context) {
  if (!parts_.gate->Enter()) return ShuttingDownError();
  const bool room = parts_.memory->HasRoomToOpen(ClientMemory::Stream().bytes);
  if (room &&
      share_.Enter(PathOf(context.peer())) == FairShare::Answer::kEntered) {
    return absl::OkStatus();
  }
  parts_.gate->Leave();
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat(
          "the server sends and receives ", kMaxImageStreams,
          " images at a time, or this client has its share of them, or there "
          "is no client memory for one more; wait until some are done")),
      reason::kTooManyStreams);
}

void ImageStreams::Add(std::shared_ptr<ImageStream> stream) {
  ImageStream* const key = stream.get();
  {
    MutexLock lock(&mu_);
    streams_.emplace(key, std::move(stream));
  }
  // Drain may have run before it was added.
  if (parts_.gate->closed()) key->Drain();
}

void ImageStreams::Remove(ImageStream* stream, const std::string& peer) {
  std::shared_ptr<ImageStream> last;  // Goes outside of the lock.
  {
    MutexLock lock(&mu_);
    last = std::move(streams_.extract(stream).mapped());
  }
  share_.Leave(PathOf(peer));
  last.reset();
  parts_.gate->Leave();
}

void ImageStreams::Drain() {
  std::vector<std::shared_ptr<ImageStream>> all;
  {
    MutexLock lock(&mu_);
    for (const auto& [key, stream] : streams_) all.push_back(stream);
  }
  for (const auto& stream : all) stream->Drain();
}

}  // namespace ramvol::service
