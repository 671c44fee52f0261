// One Io stream of BlockService: an IoSession between gRPC and the executor.
#ifndef RAMVOL_SERVER_SERVICE_IO_STREAM_H_
#define RAMVOL_SERVER_SERVICE_IO_STREAM_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/client_memory.h"
#include "base/cost_estimate.h"
#include "base/mutex.h"
#include "base/usage_limiter.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "ramvol/v1/block_service.pb.h"
#include "server/access/identity.h"
#include "server/access/sessions.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "server/service/call_access.h"
#include "server/service/executor.h"
#include "server/service/io_session.h"
#include "server/service/io_stream_memory.h"
#include "server/service/io_stream_set.h"
#include "server/service/io_stream_usage.h"

namespace ramvol::service {

// Reads messages, runs their operations, writes the results. Small operations
// that are worth no handing over run on gRPC's thread, which brought them, all
// others on the executor. While one message is being written, results collect
// for the next; so do, for a moment, those of small operations that follow each
// other.
//
// What it holds is charged to client memory, as IoStreamMemory says; IoSession
// is its protocol.
//
// gRPC's threads, the executor's and Drain's meet here; mu_ is held for a few
// instructions at a time, never across a call of gRPC or of the engine.
class IoStream final
    : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
      public std::enable_shared_from_this<IoStream>,
      public OpenStream,
      public ClientMemory::Client {
 public:
  // Borrows the first four, which must outlive the stream, and `context` until
  // OnDone. Start it once.
  IoStream(engine::Engine* engine, Executor* executor, IoStreamSet* set,
           const CallAccess* access, grpc::CallbackServerContext* context);

  void Start();

  void Drain() override;
  void Replace(std::shared_ptr<const void> hold) override;
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
    std::vector<std::shared_ptr<OpenStream>> replaced;
    std::array<int, kLanes> runners = {};
    bool write = false;
    bool finish = false;
    bool read = false;
  };

  // There is memory for what waited: has Resume run, as a runner.
  void Wake() ABSL_LOCKS_EXCLUDED(mu_);
  void Resume() ABSL_LOCKS_EXCLUDED(mu_);
  // It is the turn of an operation of `lane` that limits held up.
  void Admitted(Lane lane) ABSL_LOCKS_EXCLUDED(mu_);
  // Whether the next operation of `lane` may begin, if there is one.
  bool MayBeginLocked(Lane lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::unique_ptr<v1::IoOperation> NextOperationLocked(Lane lane)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes in incoming_, which is charged.
  void TakeMessage(bool ok) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the stream, whatever its client takes. Of a client that is slow, `why`
  // is OK.
  void EndNow(absl::Status why) ABSL_LOCKS_EXCLUDED(mu_);
  // `status` is that of decoding.
  void EndOrReceiveLocked(bool ok, absl::Status status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status ReceiveLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes up the first message; says `opened`, unless streams are replaced_.
  absl::Status EnterLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Holds the stream to the limits of its volume and its identity.
  absl::Status LimitLocked(const engine::Volume& volume)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Whether the client may open `volume`, and go on with it.
  absl::Status AllowLocked(const std::shared_ptr<engine::Volume>& volume)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // PERMISSION_DENIED and the like for an operation that it may not do.
  absl::Status MayRun(const v1::IoOperation& operation) const;
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
  int MoreRunnersLocked(Lane lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Act(Next& next) ABSL_LOCKS_EXCLUDED(mu_);

  void StartRunner(Lane lane) ABSL_LOCKS_EXCLUDED(mu_);
  // As a runner: runs operations of `lane`, at most `most`.
  void RunTurn(Lane lane, int most) ABSL_LOCKS_EXCLUDED(mu_);
  void EndRunner(Lane lane) ABSL_LOCKS_EXCLUDED(mu_);

  engine::Engine* const engine_;
  Executor* const executor_;
  IoStreamSet* const set_;
  const CallAccess* const access_;
  grpc::CallbackServerContext* const context_;  // Until finished_.

  Mutex mu_;
  IoSession session_ ABSL_GUARDED_BY(mu_);
  std::array<CostEstimate, kLanes> costs_;  // Of small operations.
  std::array<int, kLanes> runners_ ABSL_GUARDED_BY(mu_) = {};
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  IoStreamMemory memory_ ABSL_GUARDED_BY(mu_);
  IoStreamUsage usage_ ABSL_GUARDED_BY(mu_);
  // Streams that this one has to replace before it is open; for Next.
  std::vector<std::shared_ptr<OpenStream>> replaced_ ABSL_GUARDED_BY(mu_);
  // Of those that replace this one while its operations run.
  std::vector<std::shared_ptr<const void>> holds_ ABSL_GUARDED_BY(mu_);

  // Set by the first message, then constant until the stream finishes.
  std::shared_ptr<engine::Attachment> attachment_;
  // Null: it may do everything.
  std::unique_ptr<const access::Identity> identity_;
  bool may_write_ = true;
  access::Sessions::Entry session_entry_;
  std::array<UsageLimiter::Place, 2> places_;
  // Filled under mu_ when writing_ becomes true; then whoever did so encodes
  // it.
  v1::IoResponse response_;
  v1::IoRequest request_;  // OnReadDone's.
  // gRPC's while it reads or writes.
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_IO_STREAM_H_
