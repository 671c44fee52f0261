#include "client/grpc_io_transport.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "client/io_transport.h"
#include "client/io_wire.h"
#include "client/timer.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/client_callback.h"
#include "grpcpp/support/slice.h"
#include "grpcpp/support/status.h"
#include "grpcpp/support/stub_options.h"
#include "proto/status.h"

namespace ramvol {
namespace {

// Messages are raw bytes here. io_wire.h encodes and decodes them.
using Stub = grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer>;
using Reactor = grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// Keeps itself alive from Start until OnDone, which is gRPC's last call.
//
// gRPC forbids new operations once a stream may be done. A hold (AddHold) keeps
// the stream from being done. The reading side removes the hold when it ends,
// and marks the stream dead first.
class GrpcIoStream : public IoStream,
                     public Reactor,
                     public std::enable_shared_from_this<GrpcIoStream> {
 public:
  GrpcIoStream(std::shared_ptr<grpc::Channel> channel,
               const StreamOpening& opening,
               std::shared_ptr<IoStreamHandler> handler,
               std::shared_ptr<Timer> timer)
      : stub_(std::move(channel)),
        timer_(std::move(timer)),
        opening_(opening),
        handler_(std::move(handler)) {}

  void Start() override {
    static const std::string* const kMethod =
        new std::string("/ramvol.v1.BlockService/Io");
    self_ = shared_from_this();
    outgoing_ = EncodeOpen(opening_);
    stub_.PrepareBidiStreamingCall(&context_, *kMethod, grpc::StubOptions(),
                                   this);
    MutexLock lock(&mu_);
    AddHold();
    StartRead(&incoming_);
    StartWrite(&outgoing_);
    alive_ = true;
    StartCall();
  }

  void Prepare(absl::Span<const Operation> operations) override {
    outgoing_ = EncodeOperations(operations);
  }

  void Send() override {
    MutexLock lock(&mu_);
    if (alive_) StartWrite(&outgoing_);
  }

  void HalfClose() override {
    MutexLock lock(&mu_);
    if (alive_) StartWritesDone();
  }

  void Cancel() override { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) {
      {
        MutexLock lock(&mu_);
        alive_ = false;
      }
      RemoveHold();
      return;
    }
    Report();
    StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    // After a failure, the stream ends soon, and OnDone tells why.
    if (ok) handler_->OnWritten();
  }

  void OnDone(const grpc::Status& status) override {
    handler_->OnClosed(fault_.ok() ? FromGrpcStatus(status) : fault_);
    // `self` may hold the last reference to the channel. The channel's
    // destructor waits for gRPC's callback threads, and this is one of them. So
    // the timer's thread destroys it. `self` also holds the timer until then.
    Timer& timer = *timer_;
    timer.RunAt(timer.Now(),
                [self = std::move(self_), handler = std::move(handler_)] {});
  }

 private:
  // Decodes and reports the message that was read. Only for the reading side.
  void Report() {
    std::vector<grpc::Slice> slices;
    absl::StatusOr<IncomingMessage> message;
    if (incoming_.Dump(&slices).ok()) {
      message = DecodeResponse(slices);
    } else {
      message = absl::InternalError("cannot decompress the server's message");
    }
    if (message.ok()) {
      handler_->OnMessage(*message);
    } else if (fault_.ok()) {
      fault_ = message.status();
      Cancel();
    }
  }

  // Set at construction.
  Stub stub_;
  const std::shared_ptr<Timer> timer_;
  const StreamOpening opening_;
  std::shared_ptr<IoStreamHandler> handler_;

  grpc::ClientContext context_;
  std::shared_ptr<GrpcIoStream> self_;
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;  // For the thread that may write: see OnWritten.
  // What is wrong with the server's messages. Used by the reading side, and by
  // OnDone after that.
  absl::Status fault_;

  Mutex mu_;
  bool alive_ ABSL_GUARDED_BY(mu_) = false;
};

class GrpcIoTransport : public IoTransport {
 public:
  GrpcIoTransport(std::vector<std::shared_ptr<grpc::Channel>> channels,
                  std::shared_ptr<Timer> timer)
      : channels_(std::move(channels)), timer_(std::move(timer)) {}

  std::shared_ptr<IoStream> NewStream(
      int channel, const StreamOpening& opening,
      std::shared_ptr<IoStreamHandler> handler) override {
    return std::make_shared<GrpcIoStream>(channels_[channel % channels_.size()],
                                          opening, std::move(handler), timer_);
  }

 private:
  const std::vector<std::shared_ptr<grpc::Channel>> channels_;
  const std::shared_ptr<Timer> timer_;
};

}  // namespace

std::shared_ptr<IoTransport> MakeGrpcIoTransport(
    std::vector<std::shared_ptr<grpc::Channel>> channels,
    std::shared_ptr<Timer> timer) {
  return std::make_shared<GrpcIoTransport>(std::move(channels),
                                           std::move(timer));
}

}  // namespace ramvol
