#include "tests/bench/grpc_loads.h"

#include <cstdio>
#include <cstdlib>
#include <random>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "client/client.h"
#include "client/options.h"
#include "client/remote_volume.h"
#include "grpc/grpc.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"
#include "grpcpp/support/client_callback.h"
#include "grpcpp/support/status.h"
#include "ramvol/v1/block_service.grpc.pb.h"

namespace ramvol::bench {
namespace {

constexpr int kBareStreams = 2;  // As many as the SDK has connections.
constexpr int kMaxMessageBytes = 64 << 20;

[[noreturn]] void Fail(const std::string& message) {
  std::fprintf(stderr, "an operation failed: %s\n", message.c_str());
  std::exit(EXIT_FAILURE);
}

// One slot's offsets.
class Offsets {
 public:
  Offsets(const Target& target, int slot)
      : bytes_(target.bytes),
        random_(static_cast<uint32_t>(slot) + 1),
        index_(0, target.volume_bytes / target.bytes - 1) {}

  int64_t Next() { return index_(random_) * bytes_; }

 private:
  const int64_t bytes_;
  std::minstd_rand random_;
  std::uniform_int_distribution<int64_t> index_;
};

std::shared_ptr<grpc::Channel> NewChannel(const std::string& server) {
  grpc::ChannelArguments arguments;
  // Otherwise channels to one address share a connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(),
                                   arguments);
}

class Unary final : public Load {
 public:
  Unary(const Target& target, int depth)
      : direction_(target.direction),
        stub_(v1::BlockService::NewStub(NewChannel(target.server))) {
    for (int i = 0; i < depth; ++i) slots_.emplace_back(target, i);
    for (Slot& slot : slots_) {
      slot.read.set_volume(target.volume);
      slot.read.set_length(target.bytes);
      slot.write.set_volume(target.volume);
      slot.write.set_data(BlockData(target.bytes));
    }
  }

  void Begin(int index, Observer* observer) override {
    Slot& slot = slots_[static_cast<size_t>(index)];
    slot.context = std::make_unique<grpc::ClientContext>();
    auto done = [index, observer](const grpc::Status& status) {
      if (!status.ok()) Fail(status.error_message());
      observer->Done(index);
    };
    if (direction_ == Direction::kRead) {
      slot.read.set_offset(slot.offsets.Next());
      stub_->async()->Read(slot.context.get(), &slot.read, &slot.read_response,
                           done);
    } else {
      slot.write.set_offset(slot.offsets.Next());
      stub_->async()->Write(slot.context.get(), &slot.write,
                            &slot.write_response, done);
    }
  }

 private:
  struct Slot {
    Slot(const Target& target, int index) : offsets(target, index) {}

    Offsets offsets;
    v1::ReadRequest read;
    v1::ReadResponse read_response;
    v1::WriteRequest write;
    v1::WriteResponse write_response;
    std::unique_ptr<grpc::ClientContext> context;
  };

  const Direction direction_;
  const std::unique_ptr<v1::BlockService::Stub> stub_;
  std::vector<Slot> slots_;
};

class BareStream final
    : public grpc::ClientBidiReactor<v1::IoRequest, v1::IoResponse> {
 public:
  explicit BareStream(const std::string& server)
      : stub_(v1::BlockService::NewStub(NewChannel(server))) {
    stub_->async()->Io(&context_, this);
    AddHold();
    StartRead(&response_);
    StartCall();
  }
  ~BareStream() override {
    StartWritesDone();
    RemoveHold();
    MutexLock lock(&mu_);
    while (!done_) ended_.Wait(&mu_);
  }

  void Ask(int slot, int64_t offset, int64_t length, Load::Observer* observer) {
    MutexLock lock(&mu_);
    observer_ = observer;
    waiting_.push_back({slot, offset, length});
    if (!writing_) WriteLocked();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    const auto slot = static_cast<int>(response_.results(0).id());
    StartRead(&response_);
    observer_->Done(slot);
  }
  void OnWriteDone(bool) override {
    MutexLock lock(&mu_);
    writing_ = false;
    if (!waiting_.empty()) WriteLocked();
  }
  void OnDone(const grpc::Status& status) override {
    if (!status.ok()) Fail(status.error_message());
    MutexLock lock(&mu_);
    done_ = true;
    ended_.Signal();
  }

 private:
  struct Question {
    int slot;
    int64_t offset;
    int64_t length;
  };

  void WriteLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const Question next = waiting_.front();
    waiting_.erase(waiting_.begin());
    request_.Clear();
    v1::IoOperation& operation = *request_.add_operations();
    operation.set_id(static_cast<uint64_t>(next.slot));
    operation.mutable_read()->set_offset(next.offset);
    operation.mutable_read()->set_length(next.length);
    writing_ = true;
    StartWrite(&request_);
  }

  const std::unique_ptr<v1::BlockService::Stub> stub_;
  grpc::ClientContext context_;
  v1::IoRequest request_;
  v1::IoResponse response_;
  Load::Observer* observer_ = nullptr;  // The same from first to last.

  Mutex mu_;
  CondVar ended_;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Question> waiting_ ABSL_GUARDED_BY(mu_);
};

class BareStreams final : public Load {
 public:
  BareStreams(const Target& target, int depth) : bytes_(target.bytes) {
    for (int i = 0; i < kBareStreams; ++i) {
      streams_.push_back(std::make_unique<BareStream>(target.server));
    }
    for (int i = 0; i < depth; ++i) offsets_.emplace_back(target, i);
  }

  void Begin(int slot, Observer* observer) override {
    const auto index = static_cast<size_t>(slot);
    streams_[index % streams_.size()]->Ask(slot, offsets_[index].Next(), bytes_,
                                           observer);
  }

 private:
  const int64_t bytes_;
  std::vector<std::unique_ptr<BareStream>> streams_;
  std::vector<Offsets> offsets_;
};

class Sdk final : public Load {
 public:
  Sdk(const Target& target, int depth)
      : direction_(target.direction),
        client_({.server = target.server}),
        volume_(OpenVolume(client_, target.volume)) {
    for (int i = 0; i < depth; ++i) {
      slots_.push_back({Offsets(target, i), BlockData(target.bytes)});
    }
  }

  void Begin(int index, Observer* observer) override {
    Slot& slot = slots_[static_cast<size_t>(index)];
    auto done = [index, observer](const absl::Status& status) {
      if (!status.ok()) Fail(status.ToString());
      observer->Done(index);
    };
    if (direction_ == Direction::kRead) {
      volume_.ReadAsync(slot.offsets.Next(), absl::MakeSpan(slot.data), done);
    } else {
      volume_.WriteAsync(slot.offsets.Next(), slot.data, done);
    }
  }

 private:
  struct Slot {
    Offsets offsets;
    std::string data;
  };

  static RemoteVolume OpenVolume(const Client& client,
                                 const std::string& name) {
    auto volume = client.Open(name);
    if (!volume.ok()) Fail(volume.status().ToString());
    return *std::move(volume);
  }

  const Direction direction_;
  const Client client_;
  const RemoteVolume volume_;
  std::vector<Slot> slots_;
};

}  // namespace

std::string BlockData(int64_t bytes) {
  std::string data(static_cast<size_t>(bytes), 'x');
  std::minstd_rand random(1);
  for (size_t i = 0; i < data.size(); ++i) {
    if (i % 16 < 8) data[i] = static_cast<char>(random() >> 8);
  }
  return data;
}

std::unique_ptr<Load> UnaryLoad(const Target& target, int depth) {
  return std::make_unique<Unary>(target, depth);
}

std::unique_ptr<Load> BareStreamLoad(const Target& target, int depth) {
  return std::make_unique<BareStreams>(target, depth);
}

std::unique_ptr<Load> SdkLoad(const Target& target, int depth) {
  return std::make_unique<Sdk>(target, depth);
}

}  // namespace ramvol::bench
