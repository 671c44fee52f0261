// One Io stream of BlockService: an IoSession between gRPC and the executor.
#ifndef RAMVOL_SERVER_SERVICE_IO_STREAM_H_
#define RAMVOL_SERVER_SERVICE_IO_STREAM_H_

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "grpcpp/support/server_callback.h"
#include "proto/base/mutex.h"
#include "ramvol/v1/block_service.pb.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "server/service/call_gate.h"
#include "server/service/executor.h"
#include "server/service/io_session.h"

namespace ramvol::service {

class IoStreamSet;

// Reads messages, runs their operations on the executor, writes the results.
// While one message is being written, results collect for the next.
//
// gRPC's threads, the executor's and Drain's meet here; mu_ is held for a few
// instructions at a time, never across a call of gRPC or of the engine.
class IoStream final
    : public grpc::ServerBidiReactor<v1::IoRequest, v1::IoResponse>,
      public std::enable_shared_from_this<IoStream> {
 public:
  // Borrows all three, which must outlive the stream. Start it once.
  IoStream(engine::Engine* engine, Executor* executor, IoStreamSet* set);

  void Start();

  // Answers what was received and ends the stream with UNAVAILABLE.
  void Drain();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // What has to be done once mu_ is let go.
  struct Next {
    std::array<int, kLanes> runners = {};
    bool write = false;
    bool finish = false;
    bool read = false;
  };

  absl::Status ReceiveLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status OpenLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Decides what the state asks for, and enters it as begun.
  Next DecideLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  int MoreRunnersLocked(Lane lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Act(const Next& next) ABSL_LOCKS_EXCLUDED(mu_);

  void StartRunner(Lane lane) ABSL_LOCKS_EXCLUDED(mu_);
  // Runs operations of `lane`, at most `most`; false when none is left.
  bool RunOperations(Lane lane, int most) ABSL_LOCKS_EXCLUDED(mu_);
  void EndRunner(Lane lane) ABSL_LOCKS_EXCLUDED(mu_);
  void RunTurn(Lane lane) ABSL_LOCKS_EXCLUDED(mu_);

  engine::Engine* const engine_;
  Executor* const executor_;
  IoStreamSet* const set_;

  Mutex mu_;
  IoSession session_ ABSL_GUARDED_BY(mu_);
  std::array<int, kLanes> runners_ ABSL_GUARDED_BY(mu_) = {};
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;

  // Set by the first message, then constant until the stream finishes.
  std::optional<engine::Attachment> attachment_;
  // Written under mu_ when writing_ becomes true, then gRPC's until
  // OnWriteDone.
  v1::IoResponse response_;
  // gRPC's from StartRead to OnReadDone.
  v1::IoRequest request_;
};

// All streams of a server. Thread-safe.
class IoStreamSet {
 public:
  // Borrows `gate`, which every stream that is added has entered.
  explicit IoStreamSet(CallGate* gate) : gate_(gate) {}

  // False when there are kMaxStreams already.
  bool Add(std::shared_ptr<IoStream> stream);
  // Takes a stream out that is done, and lets it leave the gate.
  void Remove(IoStream* stream);
  // Drains all that are in the set.
  void DrainAll();

 private:
  CallGate* const gate_;
  Mutex mu_;
  // Keeps the streams alive.
  absl::flat_hash_map<IoStream*, std::shared_ptr<IoStream>> streams_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_IO_STREAM_H_
