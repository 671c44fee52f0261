// Compares gRPC's server APIs on unary reads of 4 KiB: the callback API and the
// completion-queue API, each answering at once and through a pool of threads.
// The server is a process of its own, so that its CPU time is measured alone.
// Nothing is stored: every read is answered with the same 4 KiB.
//
//   bazel run -c opt //tests/bench:grpc_api_bench
#include <grpcpp/grpcpp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "ramvol/v1/block_service.grpc.pb.h"
#include "tests/bench/grpc_loads.h"
#include "tests/bench/load.h"

namespace {

using ramvol::v1::BlockService;
using ramvol::v1::ReadRequest;
using ramvol::v1::ReadResponse;

constexpr int kThreads = 2;
constexpr int kReadBytes = 4096;

enum class Mode { kCallback, kCallbackPool, kQueue, kQueuePool };

// The simplest pool there is: one queue, one lock.
class Pool {
 public:
  Pool() {
    for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this] { Run(); });
  }
  void Submit(std::function<void()> task) {
    {
      std::lock_guard<std::mutex> lock(mu_);
      tasks_.push_back(std::move(task));
    }
    ready_.notify_one();
  }

 private:
  void Run() {
    std::unique_lock<std::mutex> lock(mu_);
    while (true) {
      ready_.wait(lock, [this] { return !tasks_.empty(); });
      std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  }

  std::mutex mu_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
};

void Answer(ReadResponse* response) {
  response->mutable_data()->assign(kReadBytes, 'x');
}

class CallbackServer final : public BlockService::CallbackService {
 public:
  explicit CallbackServer(Pool* pool) : pool_(pool) {}

  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context,
                                 const ReadRequest*,
                                 ReadResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    auto work = [reactor, response] {
      Answer(response);
      reactor->Finish(grpc::Status::OK);
    };
    if (pool_ != nullptr) {
      pool_->Submit(work);
    } else {
      work();
    }
    return reactor;
  }

 private:
  Pool* const pool_;
};

// One call of the completion-queue API, again and again.
class QueueCall {
 public:
  QueueCall(BlockService::AsyncService* service,
            grpc::ServerCompletionQueue* queue, Pool* pool)
      : service_(service), queue_(queue), pool_(pool) {
    Await();
  }

  void Proceed() {
    if (answering_) {
      Await();
      return;
    }
    answering_ = true;
    auto work = [this] {
      Answer(&response_);
      writer_->Finish(response_, grpc::Status::OK, this);
    };
    if (pool_ != nullptr) {
      pool_->Submit(work);
    } else {
      work();
    }
  }

 private:
  void Await() {
    answering_ = false;
    context_ = std::make_unique<grpc::ServerContext>();
    writer_ = std::make_unique<grpc::ServerAsyncResponseWriter<ReadResponse>>(
        context_.get());
    service_->RequestRead(context_.get(), &request_, writer_.get(), queue_,
                          queue_, this);
  }

  BlockService::AsyncService* const service_;
  grpc::ServerCompletionQueue* const queue_;
  Pool* const pool_;
  bool answering_ = false;
  ReadRequest request_;
  ReadResponse response_;
  std::unique_ptr<grpc::ServerContext> context_;
  std::unique_ptr<grpc::ServerAsyncResponseWriter<ReadResponse>> writer_;
};

// Serves until it is killed; writes its port to `port_fd`.
[[noreturn]] void Serve(Mode mode, int port_fd) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const bool pooled = mode == Mode::kCallbackPool || mode == Mode::kQueuePool;
  Pool* pool = pooled ? new Pool : nullptr;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  std::unique_ptr<grpc::Server> server;
  if (mode == Mode::kCallback || mode == Mode::kCallbackPool) {
    static CallbackServer service(pool);
    builder.RegisterService(&service);
    server = builder.BuildAndStart();
  } else {
    static BlockService::AsyncService service;
    builder.RegisterService(&service);
    std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;
    for (int i = 0; i < kThreads; ++i) {
      queues.push_back(builder.AddCompletionQueue());
    }
    server = builder.BuildAndStart();
    for (auto& queue : queues) {
      for (int i = 0; i < 128; ++i) new QueueCall(&service, queue.get(), pool);
      std::thread([q = queue.release()] {
        void* tag = nullptr;
        bool ok = false;
        while (q->Next(&tag, &ok)) {
          if (ok) static_cast<QueueCall*>(tag)->Proceed();
        }
      }).detach();
    }
  }
  if (write(port_fd, &port, sizeof(port)) != sizeof(port)) abort();
  while (true) pause();
}

// The client's process: measures for `seconds` and exits. The servers are
// forked before gRPC begins in their process, so this one is forked, too.
[[noreturn]] void MeasureServer(const char* name, pid_t server, int port,
                                int depth, double seconds) {
  const auto load =
      ramvol::bench::UnaryLoad({.server = "127.0.0.1:" + std::to_string(port),
                                .volume = "v",
                                .volume_bytes = kReadBytes,
                                .bytes = kReadBytes},
                               depth);
  const auto result = ramvol::bench::Measure(*load, depth, seconds, server);
  std::printf("%-22s depth %3d  %8.0f RPC/s  %6.1f us of server CPU/RPC\n",
              name, depth, result.ops_per_s, result.server_cpu_us_per_op);
  std::fflush(stdout);
  _exit(0);
}

void Run(Mode mode, const char* name, int depth, double seconds) {
  int fds[2];
  if (pipe(fds) != 0) abort();
  const pid_t server = fork();
  if (server == 0) Serve(mode, fds[1]);
  int port = 0;
  if (read(fds[0], &port, sizeof(port)) != sizeof(port)) abort();
  const pid_t client = fork();
  if (client == 0) MeasureServer(name, server, port, depth, seconds);
  waitpid(client, nullptr, 0);
  kill(server, SIGKILL);
  waitpid(server, nullptr, 0);
  close(fds[0]);
  close(fds[1]);
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 4;
  for (const int depth : {1, 8, 64}) {
    Run(Mode::kCallback, "callback", depth, seconds);
    Run(Mode::kCallbackPool, "callback + pool", depth, seconds);
    Run(Mode::kQueue, "completion queue", depth, seconds);
    Run(Mode::kQueuePool, "completion queue + pool", depth, seconds);
  }
  return 0;
}
