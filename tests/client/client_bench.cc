// What the SDK's Io streams gain over unary calls, against the tests' small
// server in this process, over a Unix socket. Server and client share the
// machine's cores.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "benchmark/benchmark.h"
#include "client/client.h"
#include "client/options.h"
#include "client/remote_volume.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "ramvol/v1/block_service.grpc.pb.h"
#include "ramvol/v1/block_service.pb.h"
#include "tests/client/fake_grpc_server.h"

namespace ramvol {
namespace {

constexpr int64_t kVolumeBytes = int64_t{64} << 20;

void Check(bool ok) {
  if (!ok) std::abort();
}

// Started once, with one volume.
const std::string& ServerAddress() {
  static const std::string* const address = [] {
    static FakeGrpcServer* const server = new FakeGrpcServer();
    std::string directory = "/tmp/ramvol-bench-XXXXXX";
    Check(mkdtemp(directory.data()) != nullptr);
    auto* result = new std::string("unix:" + directory + "/s");
    Check(server->Start(*result));
    server->volumes().Add("bench", kVolumeBytes);
    return result;
  }();
  return *address;
}

// Another block each time, of the thread's own.
int64_t NextOffset(int64_t& state, int64_t length) {
  state = (state * 6364136223846793005 + 1442695040888963407) & INT64_MAX;
  return (state >> 20) % (kVolumeBytes / length) * length;
}

void BM_UnaryRead(benchmark::State& state) {
  static auto* const channel = new std::shared_ptr<grpc::Channel>(
      grpc::CreateChannel(ServerAddress(), grpc::InsecureChannelCredentials()));
  const auto stub = v1::BlockService::NewStub(*channel);
  v1::ReadRequest request;
  request.set_volume("bench");
  request.set_length(state.range(0));
  int64_t random = state.thread_index();
  for (auto _ : state) {
    grpc::ClientContext context;
    v1::ReadResponse response;
    request.set_offset(NextOffset(random, state.range(0)));
    Check(stub->Read(&context, request, &response).ok());
  }
  state.SetItemsProcessed(state.iterations());
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

const RemoteVolume& BenchVolume() {
  static const RemoteVolume* const volume = [] {
    ClientOptions options;
    options.server = ServerAddress();
    return new RemoteVolume(Client(options).Open("bench").value());
  }();
  return *volume;
}

void BM_SdkRead(benchmark::State& state) {
  const RemoteVolume& volume = BenchVolume();
  std::string data(state.range(0), ' ');
  int64_t random = state.thread_index();
  for (auto _ : state) {
    Check(volume.Read(NextOffset(random, state.range(0)), absl::MakeSpan(data))
              .ok());
  }
  state.SetItemsProcessed(state.iterations());
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

// Keeps range(1) operations under way; each callback starts the next.
class Pump {
 public:
  Pump(const RemoteVolume& volume, int64_t length, bool write)
      : volume_(volume), length_(length), write_(write) {}

  void Run(int64_t operations, int depth) {
    {
      MutexLock lock(&mu_);
      left_ = operations;
    }
    std::vector<std::string> buffers(depth, std::string(length_, 'x'));
    for (std::string& buffer : buffers) Next(buffer);
    MutexLock lock(&mu_);
    while (left_ > 0 || running_ > 0) ended_.Wait(&mu_);
  }

 private:
  void Next(std::string& buffer) {
    int64_t offset;
    {
      MutexLock lock(&mu_);
      if (left_ == 0) return;
      --left_;
      ++running_;
      offset = NextOffset(random_, length_);
    }
    auto done = [this, &buffer](const absl::Status& status) {
      Check(status.ok());
      Next(buffer);
      MutexLock lock(&mu_);
      if (--running_ == 0) ended_.SignalAll();
    };
    if (write_) {
      volume_.WriteAsync(offset, buffer, done);
    } else {
      volume_.ReadAsync(offset, absl::MakeSpan(buffer), done);
    }
  }

  const RemoteVolume& volume_;
  const int64_t length_;
  const bool write_;
  Mutex mu_;
  CondVar ended_;
  int64_t left_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t running_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t random_ ABSL_GUARDED_BY(mu_) = 1;
};

void Pipelined(benchmark::State& state, bool write) {
  constexpr int64_t kBatch = 1000;
  const int64_t batch = state.range(0) > 100000 ? kBatch / 10 : kBatch;
  Pump pump(BenchVolume(), state.range(0), write);
  for (auto _ : state) pump.Run(batch, state.range(1));
  state.SetItemsProcessed(state.iterations() * batch);
  state.SetBytesProcessed(state.iterations() * batch * state.range(0));
}

void BM_SdkReadAsync(benchmark::State& state) { Pipelined(state, false); }
void BM_SdkWriteAsync(benchmark::State& state) { Pipelined(state, true); }

BENCHMARK(BM_UnaryRead)->Arg(4096)->Threads(1)->Threads(4)->UseRealTime();
BENCHMARK(BM_UnaryRead)->Arg(1 << 20)->UseRealTime();
BENCHMARK(BM_SdkRead)->Arg(4096)->Threads(1)->Threads(4)->UseRealTime();
BENCHMARK(BM_SdkRead)->Arg(1 << 20)->UseRealTime();
BENCHMARK(BM_SdkReadAsync)
    ->Args({4096, 8})
    ->Args({4096, 32})
    ->Args({4096, 128})
    ->Args({1 << 20, 8})
    ->UseRealTime();
BENCHMARK(BM_SdkWriteAsync)
    ->Args({4096, 32})
    ->Args({1 << 20, 8})
    ->UseRealTime();

}  // namespace
}  // namespace ramvol
