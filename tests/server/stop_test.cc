// The end of ramvold under load: what clients are told, and that it comes.
#include <signal.h>

#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "proto/status.h"
#include "ramvol/v1/block_service.grpc.pb.h"
#include "ramvol/v1/volume_service.grpc.pb.h"
#include "tests/support/process.h"

namespace ramvol {
namespace {

using ::ramvol::testing::Process;

constexpr int kStops = 12;
constexpr int kConnections = 4;
constexpr int kAnswersBeforeTheStop = 200;
constexpr size_t kWriteBytes = 128 << 10;
// A caller that is refused pauses, so that others get their turn.
constexpr absl::Duration kPause = absl::Milliseconds(1);

std::shared_ptr<grpc::Channel> NewConnection(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(),
                                   arguments);
}

// The calls that clients make, one of each kind.
std::vector<std::function<grpc::Status(grpc::ClientContext*)>> Calls(
    const std::shared_ptr<grpc::Channel>& channel) {
  const std::shared_ptr<v1::VolumeService::Stub> volumes =
      v1::VolumeService::NewStub(channel);
  const std::shared_ptr<v1::BlockService::Stub> blocks =
      v1::BlockService::NewStub(channel);
  return {
      [volumes](grpc::ClientContext* context) {
        v1::GetVolumeRequest request;
        request.set_name("disk");
        v1::GetVolumeResponse response;
        return volumes->GetVolume(context, request, &response);
      },
      [volumes](grpc::ClientContext* context) {
        v1::ListVolumesResponse response;
        return volumes->ListVolumes(context, {}, &response);
      },
      [blocks](grpc::ClientContext* context) {
        v1::ReadRequest request;
        request.set_volume("disk");
        request.set_length(4096);
        v1::ReadResponse response;
        return blocks->Read(context, request, &response);
      },
      [blocks](grpc::ClientContext* context) {
        v1::WriteRequest request;
        request.set_volume("disk");
        request.set_data(std::string(kWriteBytes, 'x'));
        v1::WriteResponse response;
        return blocks->Write(context, request, &response);
      },
      // Stays open until the server ends it.
      [blocks](grpc::ClientContext* context) {
        auto stream = blocks->Io(context);
        v1::IoRequest request;
        request.set_volume("disk");
        stream->Write(request);
        v1::IoResponse response;
        while (stream->Read(&response)) {
        }
        return stream->Finish();
      },
      // Ends it, again and again.
      [blocks](grpc::ClientContext* context) {
        auto stream = blocks->Io(context);
        v1::IoRequest request;
        request.set_volume("disk");
        stream->WriteLast(request, grpc::WriteOptions());
        v1::IoResponse response;
        while (stream->Read(&response)) {
        }
        return stream->Finish();
      },
  };
}

// Clients that call again and again.
class Load {
 public:
  explicit Load(const std::string& address) {
    for (int i = 0; i < kConnections; ++i) {
      for (auto& call : Calls(NewConnection(address))) {
        threads_.emplace_back([this, call] { Repeat(call); });
      }
    }
  }
  ~Load() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

  void WaitForAnswers() const {
    while (answers_ < kAnswersBeforeTheStop) absl::SleepFor(kPause);
  }
  // What calls ended with that was neither OK nor UNAVAILABLE.
  std::set<std::string> wrong() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return wrong_;
  }

 private:
  void Repeat(const std::function<grpc::Status(grpc::ClientContext*)>& call) {
    while (!stop_) {
      grpc::ClientContext context;
      const absl::Status status = FromGrpcStatus(call(&context));
      ++answers_;
      if (status.ok()) continue;
      if (!absl::IsUnavailable(status)) AddWrong(status);
      absl::SleepFor(kPause);
    }
  }
  void AddWrong(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    wrong_.insert(status.ToString());
  }

  std::atomic<bool> stop_{false};
  std::atomic<int> answers_{0};
  Mutex mu_;
  std::set<std::string> wrong_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> threads_;
};

void CreateDisk(const std::string& address) {
  v1::CreateVolumeRequest request;
  request.set_name("disk");
  request.set_size_bytes(1 << 20);
  v1::CreateVolumeResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(v1::VolumeService::NewStub(NewConnection(address))
                  ->CreateVolume(&context, request, &response)
                  .ok());
}

// Calls are answered or UNAVAILABLE, which clients may repeat; never CANCELLED.
// With an hour for draining, a call that is waited for in vain fails the test
// by its own time limit.
TEST(StopTest, EveryCallIsAnsweredOrUnavailable) {
  for (int stop = 0; stop < kStops; ++stop) {
    Process ramvold("server/ramvold",
                    {"--listen=127.0.0.1:0", "--metrics_listen=",
                     "--memory_limit=64M", "--drain_timeout=1h"});
    const std::string ready = ramvold.ReadLine();
    const std::string address = ready.substr(ready.rfind(' ') + 1);
    CreateDisk(address);
    Load load(address);
    load.WaitForAnswers();
    ramvold.Signal(SIGTERM);
    EXPECT_EQ(ramvold.ExitCode(), 0);
    EXPECT_THAT(load.wrong(), ::testing::IsEmpty()) << "stop " << stop;
  }
}

}  // namespace
}  // namespace ramvol
