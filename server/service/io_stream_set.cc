#include "server/service/io_stream_set.h"

#include "absl/strings/str_cat.h"
#include "base/peer.h"
#include "base/reason.h"

namespace ramvol::service {

IoStreamSet::Answer IoStreamSet::Add(std::shared_ptr<OpenStream> stream,
                                     const std::string& grpc_peer) {
  Member member{.stream = std::move(stream),
                .holder = {PeerOf(grpc_peer), grpc_peer}};
  const Answer answer = share_.Enter(member.holder);
  if (answer != Answer::kEntered) return answer;
  MutexLock lock(&mu_);
  OpenStream* const key = member.stream.get();
  streams_.emplace(key, std::move(member));
  return answer;
}

void IoStreamSet::Remove(OpenStream* stream) {
  Member last;  // Goes outside of the lock.
  {
    MutexLock lock(&mu_);
    const auto it = streams_.find(stream);
    last = std::move(it->second);
    if (last.id != 0) named_.erase(last.id);
    streams_.erase(it);
  }
  share_.Leave(last.holder);
  gate_->Leave();
}

void IoStreamSet::DrainAll() {
  std::vector<std::shared_ptr<OpenStream>> streams;
  {
    MutexLock lock(&mu_);
    streams.reserve(streams_.size());
    for (const auto& [key, member] : streams_) streams.push_back(member.stream);
  }
  for (const auto& stream : streams) stream->Drain();
}

absl::Status IoStreamSet::Name(OpenStream* stream, uint64_t id) {
  if (id == 0) return absl::OkStatus();
  MutexLock lock(&mu_);
  if (!named_.emplace(id, stream).second) {
    return InvalidField("stream_id",
                        absl::StrCat("another stream has the id ", id,
                                     "; draw ids of 64 bits at random"));
  }
  streams_.at(stream).id = id;
  return absl::OkStatus();
}

std::vector<std::shared_ptr<OpenStream>> IoStreamSet::FindOthers(
    const OpenStream* stream,
    const google::protobuf::RepeatedField<uint64_t>& ids) {
  std::vector<std::shared_ptr<OpenStream>> found;
  if (ids.empty()) return found;
  MutexLock lock(&mu_);
  for (const uint64_t id : ids) {
    const auto named = named_.find(id);
    if (named != named_.end() && named->second != stream)
      found.push_back(streams_.at(named->second).stream);
  }
  return found;
}

absl::StatusOr<std::shared_ptr<engine::Attachment>> IoStreamSet::Attach(
    uint64_t client_id, std::shared_ptr<engine::Volume> volume,
    engine::Holder holder, bool if_unattached) {
  const ClientKey key(client_id, volume->uid());
  MutexLock lock(&mu_);
  const auto known = clients_.find(key);
  if (known != clients_.end()) {
    if (auto shared = known->second.lock()) return shared;
  }
  auto made = engine::Attachment::Make(std::move(volume), std::move(holder),
                                       if_unattached);
  if (!made.ok()) return made.status();
  auto attachment = std::make_shared<engine::Attachment>(*std::move(made));
  if (client_id == 0) return attachment;
  if (clients_.size() >= 2 * kMaxStreams) {
    absl::erase_if(clients_,
                   [](const auto& entry) { return entry.second.expired(); });
  }
  clients_[key] = attachment;
  return attachment;
}

}  // namespace ramvol::service
