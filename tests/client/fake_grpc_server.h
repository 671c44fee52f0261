// A FakeServer behind real gRPC, whose connections can be made to fail.
#ifndef RAMVOL_TESTS_CLIENT_FAKE_GRPC_SERVER_H_
#define RAMVOL_TESTS_CLIENT_FAKE_GRPC_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/mutex.h"
#include "grpcpp/server.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"
#include "grpcpp/support/sync_stream.h"
#include "ramvol/v1/block_service.grpc.pb.h"
#include "ramvol/v1/block_service.pb.h"
#include "tests/client/fake_server.h"

namespace ramvol {

// Serves `volumes()`, which outlive Stop. Thread-safe.
class FakeGrpcServer {
 public:
  FakeGrpcServer();
  ~FakeGrpcServer();

  FakeServer& volumes() { return volumes_; }

  // Listens on `address`, e.g. "unix:/path". False if it cannot.
  bool Start(const std::string& address);
  // Ends all calls at once.
  void Stop();
  // What the health service says.
  void SetServing(bool serving);

  // The `nth` control call from now (1: the next) fails with `status`, having
  // taken effect first if `applied`.
  void FailControlCall(int nth, absl::Status status, bool applied);
  // Io streams break with UNAVAILABLE each time they have applied this many
  // operations, the last message's unanswered. 0: never.
  void BreakStreamsEvery(int operations);
  // While set, Io operations are received and not answered.
  void SetMute(bool mute);
  // Waits until this many Io operations have been received since the start.
  void AwaitReceived(int64_t operations);

  int64_t control_calls();

 private:
  class Control;
  class Block;

  grpc::Status ServeIo(
      grpc::ServerContext& context,
      grpc::ServerReaderWriter<v1::IoResponse, v1::IoRequest>& stream);
  // True if the stream is to break now. Waits while muted.
  bool CountReceived(grpc::ServerContext& context, int operations);
  bool stopping() {
    MutexLock lock(&mu_);
    return stopping_;
  }
  // Not OK if this control call is to fail; *applied says when.
  absl::Status NextFault(bool* applied);

  FakeServer volumes_;
  std::unique_ptr<Control> control_;
  std::unique_ptr<Block> block_;
  std::unique_ptr<grpc::Server> server_;

  Mutex mu_;
  CondVar changed_;
  int64_t control_calls_ ABSL_GUARDED_BY(mu_) = 0;
  int fault_in_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status fault_ ABSL_GUARDED_BY(mu_);
  bool fault_applied_ ABSL_GUARDED_BY(mu_) = false;
  int break_every_ ABSL_GUARDED_BY(mu_) = 0;
  int until_break_ ABSL_GUARDED_BY(mu_) = 0;
  bool mute_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  int64_t received_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace ramvol

#endif  // RAMVOL_TESTS_CLIENT_FAKE_GRPC_SERVER_H_
