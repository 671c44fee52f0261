// A small ramvold for the SDK's tests: plain strings as volumes, over real
// gRPC.
#ifndef RAMVOL_TESTS_CLIENT_FAKE_SERVER_H_
#define RAMVOL_TESTS_CLIENT_FAKE_SERVER_H_

#include <cstdint>
#include <map>
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
#include "ramvol/v1/volume_service.grpc.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol {

// Thread-safe. Volumes outlive Stop; Wipe forgets them, as ramvold would.
class FakeServer {
 public:
  FakeServer();
  ~FakeServer();

  // Listens on `address`, e.g. "unix:/path". False if it cannot.
  bool Start(const std::string& address);
  // Ends all calls at once.
  void Stop();
  // What the health service says.
  void SetServing(bool serving);
  void Wipe();
  // Adds a volume of zeroes, with a uid of its own.
  void Add(const std::string& name, int64_t size_bytes);
  std::string Content(const std::string& name);

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
  std::string last_request_id();

 private:
  class Control;
  class Block;
  struct Volume {
    v1::Volume settings;
    std::string data;
    std::string request_id;
  };

  // Bounds of one operation.
  static absl::Status Check(const Volume& volume, int64_t offset,
                            int64_t length);
  absl::Status Apply(const std::string& name, const v1::IoOperation& operation,
                     v1::IoResult& result);
  grpc::Status ServeIo(
      grpc::ServerContext& context,
      grpc::ServerReaderWriter<v1::IoResponse, v1::IoRequest>& stream);
  // True if the stream is to break now. Waits while muted.
  bool CountReceived(grpc::ServerContext& context, int operations);
  // Not OK if this control call is to fail; *applied says when.
  absl::Status NextFault(bool* applied);

  std::unique_ptr<Control> control_;
  std::unique_ptr<Block> block_;
  std::unique_ptr<grpc::Server> server_;

  Mutex mu_;
  CondVar changed_;
  std::map<std::string, Volume> volumes_ ABSL_GUARDED_BY(mu_);
  int64_t next_uid_ ABSL_GUARDED_BY(mu_) = 1;
  int64_t control_calls_ ABSL_GUARDED_BY(mu_) = 0;
  std::string last_request_id_ ABSL_GUARDED_BY(mu_);
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

#endif  // RAMVOL_TESTS_CLIENT_FAKE_SERVER_H_
