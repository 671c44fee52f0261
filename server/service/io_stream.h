// One Io stream of BlockService: an IoSession between gRPC and the executor.
#ifndef RAMVOL_SERVER_SERVICE_IO_STREAM_H_
#define RAMVOL_SERVER_SERVICE_IO_STREAM_H_

#include <algorithm>
#include <array>
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
#include "base/cost_estimate.h"
#include "base/fair_share.h"
#include "base/mutex.h"
#include "google/protobuf/repeated_field.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "ramvol/v1/block_service.pb.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "server/service/call_gate.h"
#include "server/service/executor.h"
#include "server/service/io_session.h"
#include "server/service/limits.h"

namespace ramvol::service {

class IoStreamSet;

// Reads messages, runs their operations, writes the results. Small operations
// that are worth no handing over run on gRPC's thread, which brought them, all
// others on the executor. While one message is being written, results collect
// for the next; so do, for a moment, those of small operations that follow each
// other.
//
// What it holds is charged to client memory: a message before it is decoded, a
// read before it begins. While there is no memory for one of them, the stream
// reads no further message.
//
// gRPC's threads, the executor's and Drain's meet here; mu_ is held for a few
// instructions at a time, never across a call of gRPC or of the engine.
class IoStream final
    : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
      public std::enable_shared_from_this<IoStream>,
      public ClientMemory::Client {
 public:
  // Borrows the first three, which must outlive the stream, and `context` until
  // OnDone. Start it once.
  IoStream(engine::Engine* engine, Executor* executor, IoStreamSet* set,
           grpc::CallbackServerContext* context);

  void Start();

  // Answers what was received and ends the stream with UNAVAILABLE.
  void Drain();

  // Another stream takes this one's place: begins no further operation, ends
  // the stream, and drops `hold` once no operation runs any more.
  void Replace(std::shared_ptr<const void> hold);

  std::function<void()> SendAway() override;

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  class OpenLater;

  // What has to be done once mu_ is let go.
  struct Next {
    std::vector<std::shared_ptr<const void>> holds;  // To be dropped.
    std::vector<std::shared_ptr<IoStream>> replaced;
    std::array<int, kLanes> runners = {};
    bool write = false;
    bool finish = false;
    bool read = false;
  };

  // Takes in incoming_, which is charged.
  void TakeMessage(bool ok) ABSL_LOCKS_EXCLUDED(mu_);
  // Whether there are `bytes`; else they are asked for, unless others are.
  bool ReserveLocked(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The same for the next operation of `lane`.
  bool MayBeginLocked(Lane lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AskLocked(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // There is memory for what was asked for.
  void Resume() ABSL_LOCKS_EXCLUDED(mu_);
  // Whether it is incoming_'s turn, which waited.
  bool TakeIncomingLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Whether the next message, with which it was waited, may be read now.
  bool TakeNextReadLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetHeldLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Ends the stream, whose client is slow.
  void EndNow() ABSL_LOCKS_EXCLUDED(mu_);
  // `status` is that of decoding.
  void EndOrReceiveLocked(bool ok, absl::Status status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status ReceiveLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes up the first message; says `opened`, unless streams are replaced_.
  absl::Status EnterLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OpenLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The replaced streams are at rest.
  void Open() ABSL_LOCKS_EXCLUDED(mu_);
  // Decides what the state asks for, and enters it as begun. Without
  // `may_write` results that are ready are left for another to send.
  void DecideLocked(Next* next, bool may_write = true)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Next DecideLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Whether there is a message to write, which is in response_ then.
  bool BeginWriteLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // How many operations of `lane` this thread had better run than hand over.
  int RunHereLocked(Lane lane) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // What its operations need was asked for.
  bool WaitsForMemoryLocked(Lane lane) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return lane == Lane::kPrompt && holder_.asking();
  }
  int MoreRunnersLocked(Lane lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Act(Next& next) ABSL_LOCKS_EXCLUDED(mu_);

  void StartRunner(Lane lane) ABSL_LOCKS_EXCLUDED(mu_);
  // As a runner: runs operations of `lane`, at most `most`.
  void RunTurn(Lane lane, int most) ABSL_LOCKS_EXCLUDED(mu_);
  void EndRunner(Lane lane) ABSL_LOCKS_EXCLUDED(mu_);

  engine::Engine* const engine_;
  Executor* const executor_;
  IoStreamSet* const set_;
  grpc::CallbackServerContext* const context_;  // Until finished_.

  Mutex mu_;
  IoSession session_ ABSL_GUARDED_BY(mu_);
  std::array<CostEstimate, kLanes> costs_;  // Of small operations.
  std::array<int, kLanes> runners_ ABSL_GUARDED_BY(mu_) = {};
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  // Of the messages that gRPC has received and is sending.
  size_t incoming_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  size_t outgoing_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  // Asked for; granted, and not used yet.
  size_t asked_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  size_t granted_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  // There is no memory yet: for incoming_, or for operations before it.
  bool incoming_waits_ ABSL_GUARDED_BY(mu_) = false;
  bool next_read_waits_ ABSL_GUARDED_BY(mu_) = false;
  ClientMemory::Holder holder_ ABSL_GUARDED_BY(mu_);
  // Streams that this one has to replace before it is open; for Next.
  std::vector<std::shared_ptr<IoStream>> replaced_ ABSL_GUARDED_BY(mu_);
  // Of those that replace this one while its operations run.
  std::vector<std::shared_ptr<const void>> holds_ ABSL_GUARDED_BY(mu_);

  // Set by the first message, then constant until the stream finishes.
  std::shared_ptr<engine::Attachment> attachment_;
  // Filled under mu_ when writing_ becomes true; then whoever did so encodes
  // it.
  v1::IoResponse response_;
  v1::IoRequest request_;  // OnReadDone's.
  // gRPC's while it reads or writes.
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;
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
  Answer Add(std::shared_ptr<IoStream> stream, const std::string& grpc_peer);
  // Takes a stream out that is done, and lets it leave the gate.
  void Remove(IoStream* stream);
  size_t size() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return streams_.size();
  }
  // Drains all that are in the set.
  void DrainAll();

  // Gives `stream`, which is in the set, its id; INVALID_ARGUMENT when another
  // has it. 0 is no id.
  absl::Status Name(IoStream* stream, uint64_t id);
  // The streams of these ids, as far as there are any, but for `stream`.
  std::vector<std::shared_ptr<IoStream>> FindOthers(
      const IoStream* stream,
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
    std::shared_ptr<IoStream> stream;
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
  absl::flat_hash_map<IoStream*, Member> streams_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<uint64_t, IoStream*> named_ ABSL_GUARDED_BY(mu_);
  // Those that are gone are taken out when there are many.
  absl::flat_hash_map<ClientKey, std::weak_ptr<engine::Attachment>> clients_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_IO_STREAM_H_
