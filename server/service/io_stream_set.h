// The Io streams of a server: who they are, and what streams of one client
// share.
#ifndef RAMVOL_SERVER_SERVICE_IO_STREAM_SET_H_
#define RAMVOL_SERVER_SERVICE_IO_STREAM_SET_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/client_memory.h"
#include "base/fair_share.h"
#include "base/mutex.h"
#include "google/protobuf/repeated_field.h"
#include "ramvol/v1/block_service.pb.h"
#include "server/engine/volume.h"
#include "server/service/call_gate.h"
#include "server/service/limits.h"

namespace ramvol::service {

// A stream as the set and other streams see it. Thread-safe.
class OpenStream {
 public:
  // Answers what was received and ends the stream with UNAVAILABLE.
  virtual void Drain() = 0;

  // Another stream takes this one's place: begins no further operation, ends
  // the stream, and drops `hold` once no operation runs any more.
  virtual void Replace(std::shared_ptr<const void> hold) = 0;

 protected:
  ~OpenStream() = default;
};

// All streams of a server. Thread-safe; its lock comes after the streams'.
class IoStreamSet {
 public:
  using Hook = std::function<void(const v1::IoOperation&)>;

  // Borrows both, `gate`, which every stream that is added has entered, and
  // what the streams are charged to.
  IoStreamSet(CallGate* gate, ClientMemory* memory)
      : gate_(gate),
        memory_(memory),
        // The rest is for connections.
        share_(
            std::min(kMaxStreams,
                     memory->max_open(ClientMemory::Stream().bytes) / 4 * 3)) {}

  using Answer = FairShare::Answer;

  ClientMemory* memory() { return memory_; }

  // Unless there are kMaxStreams already, or no memory for one more, or the
  // client has its share of them. `grpc_peer` is as ServerContext::peer.
  Answer Add(std::shared_ptr<OpenStream> stream, const std::string& grpc_peer);
  // Takes a stream out that is done, and lets it leave the gate.
  void Remove(OpenStream* stream);
  size_t size() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return streams_.size();
  }
  // Drains all that are in the set.
  void DrainAll();

  // Gives `stream`, which is in the set, its id; INVALID_ARGUMENT when another
  // has it. 0 is no id.
  absl::Status Name(OpenStream* stream, uint64_t id);
  // The streams of these ids, as far as there are any, but for `stream`.
  std::vector<std::shared_ptr<OpenStream>> FindOthers(
      const OpenStream* stream,
      const google::protobuf::RepeatedField<uint64_t>& ids);
  // Attaches a client: its streams, those of one `client_id`, share one
  // attachment, with the first one's `holder`. 0 stands for a client of its
  // own. `if_unattached` as Volume::Attach has it, when it is not attached yet.
  absl::StatusOr<std::shared_ptr<engine::Attachment>> Attach(
      uint64_t client_id, std::shared_ptr<engine::Volume> volume,
      engine::Holder holder, bool if_unattached);

  // Called before each operation; set it before there is any.
  void set_hook_for_test(Hook hook) { hook_ = std::move(hook); }
  void CallHookForTest(const v1::IoOperation& operation) {
    if (hook_) hook_(operation);
  }

 private:
  struct Member {
    std::shared_ptr<OpenStream> stream;
    std::array<std::string, 2> holder;  // The peer, and its connection.
    uint64_t id = 0;
  };
  // Of a client and a volume's uid.
  using ClientKey = std::pair<uint64_t, uint64_t>;

  CallGate* const gate_;
  ClientMemory* const memory_;
  Hook hook_;
  FairShare share_;
  Mutex mu_;
  // Keeps the streams alive.
  absl::flat_hash_map<OpenStream*, Member> streams_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<uint64_t, OpenStream*> named_ ABSL_GUARDED_BY(mu_);
  // Those that are gone are taken out when there are many.
  absl::flat_hash_map<ClientKey, std::weak_ptr<engine::Attachment>> clients_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_IO_STREAM_SET_H_
