#include "tests/bench/echo_server.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

namespace ramvol::bench {
namespace {

// As ramvold: its window, and the heads.
constexpr int kMaxReceiveBytes = (32 << 20) + (1 << 20);

// Deletes itself when gRPC is done with it.
class EchoStream final
    : public grpc::ServerBidiReactor<v1::IoRequest, v1::IoResponse> {
 public:
  EchoStream() { StartRead(&request_); }

  void OnReadDone(bool ok) override {
    MutexLock lock(&mu_);
    if (!ok) {
      ended_ = true;
      if (!writing_) Finish(grpc::Status::OK);
      return;
    }
    waiting_.push_back(
        {request_.operations(0).id(), request_.operations(0).read().length()});
    if (!writing_) WriteLocked();
    StartRead(&request_);
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&mu_);
    writing_ = false;
    if (ok && !waiting_.empty()) {
      WriteLocked();
    } else if (ended_) {
      Finish(grpc::Status::OK);
    }
  }

  void OnDone() override { delete this; }

 private:
  struct Answer {
    uint64_t id;
    int64_t bytes;
  };

  void WriteLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const Answer answer = waiting_.front();
    waiting_.pop_front();
    if (response_.results().empty()) response_.add_results();
    v1::IoResult& result = *response_.mutable_results(0);
    result.set_id(answer.id);
    // Made once: nothing is stored, and nothing is to be copied but by gRPC.
    if (result.data().size() != static_cast<size_t>(answer.bytes)) {
      result.mutable_data()->assign(static_cast<size_t>(answer.bytes), 'x');
    }
    writing_ = true;
    StartWrite(&response_);
  }

  Mutex mu_;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<Answer> waiting_ ABSL_GUARDED_BY(mu_);
  v1::IoRequest request_;
  v1::IoResponse response_;
};

}  // namespace

grpc::ServerUnaryReactor* EchoService::Read(
    grpc::CallbackServerContext* context, const v1::ReadRequest* request,
    v1::ReadResponse* response) {
  response->mutable_data()->assign(static_cast<size_t>(request->length()), 'x');
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* EchoService::Write(
    grpc::CallbackServerContext* context, const v1::WriteRequest*,
    v1::WriteResponse*) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerBidiReactor<v1::IoRequest, v1::IoResponse>* EchoService::Io(
    grpc::CallbackServerContext*) {
  return new EchoStream;
}

void ServeEcho(const std::string& address) {
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  EchoService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) std::exit(EXIT_FAILURE);
  std::printf("echo ready: grpc %s\n", address.c_str());
  std::fflush(stdout);
  while (true) pause();
}

}  // namespace ramvol::bench
