// What the calls of Save and Restore have in common.
#ifndef RAMVOL_SERVER_SERVICE_IMAGE_CALL_H_
#define RAMVOL_SERVER_SERVICE_IMAGE_CALL_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/client_memory.h"
#include "base/mutex.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"
#include "proto/status.h"
#include "server/service/image_streams.h"

namespace ramvol::service {

// Waits for the memory that the call may hold, does its work on the executor,
// one task at a time, and ends it once: when the work ends, the client goes or
// holds the memory for too long, or the server shuts down.
//
// Thread-safe. Derived classes are its reactors: their OnCancel calls Cancel,
// their OnDone calls Leave.
class ImageCall : public std::enable_shared_from_this<ImageCall>,
                  public ImageStream,
                  public ClientMemory::Client {
 public:
  // Call it once the stream has been added.
  void Start() ABSL_LOCKS_EXCLUDED(mu_);

  void Drain() override ABSL_LOCKS_EXCLUDED(mu_);
  // Ends it, whatever its client takes.
  void EndNow(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mu_);
  std::function<void()> SendAway() override;
  // EndNow, as long as there is a call.
  std::function<void(const absl::Status& why)> Ender();

 protected:
  // For a call that has entered. `held_bytes` is what it holds all the time.
  ImageCall(ImageStreams* streams, grpc::CallbackServerContext* context,
            size_t held_bytes);

  // There is memory: have work done, or wait for the client.
  virtual void Begin() = 0;
  // A task of the executor, which Continue asked for.
  virtual void Step() = 0;
  // The reactor's Finish.
  virtual void FinishCall(const grpc::Status& status) = 0;

  void Continue() ABSL_LOCKS_EXCLUDED(mu_);
  // Not OK when it must not go on.
  absl::Status WhyStopped() ABSL_LOCKS_EXCLUDED(mu_);
  void End(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  void Cancel() ABSL_LOCKS_EXCLUDED(mu_);
  // Its last reference may go.
  void Leave() { streams_.Remove(this, peer_); }

  const ImageParts& parts_;
  grpc::CallbackServerContext* const context_;  // Until it is finished.
  const std::string peer_;

  Mutex mu_;
  bool waits_ ABSL_GUARDED_BY(mu_) = false;  // For memory.
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;

 private:
  bool EndWait() ABSL_LOCKS_EXCLUDED(mu_);
  void TakeMemory() ABSL_LOCKS_EXCLUDED(mu_);

  ImageStreams& streams_;
  const size_t held_bytes_;
  const std::shared_ptr<ClientMemory> memory_;

 protected:
  ClientMemory::Holder holder_ ABSL_GUARDED_BY(mu_);
};

// The reactor of a call that is refused.
template <typename Reactor>
class RefusedCall final : public Reactor {
 public:
  explicit RefusedCall(const absl::Status& status) {
    Reactor::Finish(ToGrpcStatus(status));
  }
  void OnDone() override { delete this; }
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_IMAGE_CALL_H_
