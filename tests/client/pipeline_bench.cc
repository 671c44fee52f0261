// What the SDK's pipeline costs an operation, without a wire below it.
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "benchmark/benchmark.h"
#include "client/io_transport.h"
#include "client/options.h"
#include "client/pipeline.h"
#include "client/pipelined_connection.h"
#include "tests/client/manual_timer.h"

namespace ramvol {
namespace {

// A stream whose server has the answer to every message ready.
class BenchStream : public IoStream {
 public:
  explicit BenchStream(std::shared_ptr<IoStreamHandler> handler)
      : handler_(std::move(handler)) {}

  void Start() override {}
  void Prepare(absl::Span<const Operation> operations) override {
    for (const Operation& operation : operations) {
      OperationResult& result = answer_.results.emplace_back();
      result.id = operation.id;
      if (operation.kind == OperationKind::kRead) {
        result.data.emplace_back(kData, operation.length);
      }
    }
  }
  void Send() override {}
  void HalfClose() override {}
  void Cancel() override {}

  void Open() {
    handler_->OnWritten();
    IncomingMessage message;
    message.opened = VolumeOpened{.size_bytes = int64_t{1} << 30,
                                  .read_only = false,
                                  .window_operations = 256,
                                  .window_bytes = int64_t{16} << 20,
                                  .max_data_bytes = int64_t{1} << 20,
                                  .uid = "uid"};
    handler_->OnMessage(message);
  }
  // False if there was nothing to answer.
  bool Answer() {
    if (answer_.results.empty()) return false;
    const IncomingMessage message = std::exchange(answer_, {});
    handler_->OnWritten();
    handler_->OnMessage(message);
    return true;
  }
  void Close() { std::exchange(handler_, nullptr)->OnClosed(absl::OkStatus()); }

 private:
  static constexpr char kData[4096] = {};

  std::shared_ptr<IoStreamHandler> handler_;
  IncomingMessage answer_;
};

class BenchTransport : public IoTransport {
 public:
  std::shared_ptr<IoStream> NewStream(
      int, const StreamOpening&,
      std::shared_ptr<IoStreamHandler> handler) override {
    streams.push_back(std::make_shared<BenchStream>(std::move(handler)));
    return streams.back();
  }

  std::vector<std::shared_ptr<BenchStream>> streams;
};

// Starts range(0) operations of 4 KiB at once, and answers them.
void Operations(benchmark::State& state, bool write) {
  auto timer = std::make_shared<ManualTimer>();
  auto transport = std::make_shared<BenchTransport>();
  ClientOptions options;
  auto pipeline =
      std::make_shared<VolumePipeline>("bench", options, transport, timer);
  PipelinedConnection volume(pipeline, /*wait=*/false);
  pipeline->Open([](const absl::Status&) {});
  for (const auto& stream : transport->streams) stream->Open();
  timer->RunDue();

  std::string data(4096, 'x');
  int64_t done = 0;
  for (auto _ : state) {
    volume.Together([&] {
      for (int64_t i = 0; i < state.range(0); ++i) {
        auto count = [&done](const absl::Status&) { ++done; };
        if (write) {
          volume.WriteAsync(i * 4096, data, count);
        } else {
          volume.ReadAsync(i * 4096, absl::MakeSpan(data), count);
        }
      }
    });
    bool more = true;
    while (more) {
      more = false;
      for (const auto& stream : transport->streams) more |= stream->Answer();
    }
  }
  if (done != static_cast<int64_t>(state.iterations()) * state.range(0)) {
    state.SkipWithError("operations are missing");
  }
  state.SetItemsProcessed(done);
  for (const auto& stream : transport->streams) stream->Close();
}

void BM_PipelineRead(benchmark::State& state) { Operations(state, false); }
void BM_PipelineWrite(benchmark::State& state) { Operations(state, true); }

BENCHMARK(BM_PipelineRead)->Arg(1)->Arg(32)->Arg(256);
BENCHMARK(BM_PipelineWrite)->Arg(1)->Arg(32)->Arg(256);

}  // namespace
}  // namespace ramvol
