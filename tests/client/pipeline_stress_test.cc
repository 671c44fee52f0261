// Many threads on one volume, over a transport whose streams answer out of
// order and die at random. ThreadSanitizer sees all of it.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "client/io_transport.h"
#include "client/options.h"
#include "client/pipelined_connection.h"
#include "client/remote_volume.h"
#include "client/timer.h"
#include "client/volume_connection.h"
#include "gtest/gtest.h"
#include "tests/client/fake_transport.h"

namespace ramvol {
namespace {

constexpr int kThreads = 4;
constexpr int kRounds = 400;
constexpr int64_t kRegionBytes = 64 << 10;

// The bytes of the volume that all streams serve.
class Store {
 public:
  void Apply(const SentOperation& sent, std::string& read) {
    MutexLock lock(&mu_);
    if (sent.head.kind == OperationKind::kRead) {
      read = data_.substr(sent.head.offset, sent.head.length);
    } else if (sent.head.kind == OperationKind::kWrite) {
      data_.replace(sent.head.offset, sent.data.size(), sent.data);
    } else if (sent.head.kind == OperationKind::kTrim) {
      data_.replace(sent.head.offset, sent.head.length, sent.head.length, '\0');
    }
  }

 private:
  Mutex mu_;
  std::string data_ ABSL_GUARDED_BY(mu_) = std::string(kThreads * kRegionBytes,
                                                       '\0');
};

class ServedStream;

// The streams by their ids, those too that the client believes dead.
class StreamTable {
 public:
  void Add(uint64_t id, std::shared_ptr<ServedStream> stream) {
    MutexLock lock(&mu_);
    streams_[id] = std::move(stream);
  }
  std::shared_ptr<ServedStream> Find(uint64_t id) {
    MutexLock lock(&mu_);
    return streams_[id];
  }

 private:
  Mutex mu_;
  std::map<uint64_t, std::shared_ptr<ServedStream>> streams_
      ABSL_GUARDED_BY(mu_);
};

// A stream with a thread that plays the server.
class ServedStream : public IoStream {
 public:
  ServedStream(Store& store, StreamTable& table, StreamOpening opening,
               uint64_t seed, std::shared_ptr<IoStreamHandler> handler)
      : store_(store),
        table_(table),
        opening_(std::move(opening)),
        random_(seed),
        handler_(std::move(handler)) {}

  void Start() override { Push({.kind = Event::kStart, .operations = {}}); }
  void Prepare(absl::Span<const Operation> operations) override {
    prepared_.clear();
    for (const Operation& operation : operations) {
      prepared_.push_back({operation, std::string(operation.data)});
      prepared_.back().head.data = {};
    }
  }
  void Send() override {
    Push({.kind = Event::kMessage, .operations = std::move(prepared_)});
  }
  void HalfClose() override { Push({.kind = Event::kEnd, .operations = {}}); }
  void Cancel() override { Push({.kind = Event::kEnd, .operations = {}}); }

  // The server's side, until the stream ends.
  void Serve() {
    while (true) {
      Event event = Pop();
      if (event.kind == Event::kEnd) break;
      if (event.kind == Event::kStart) {
        if (Chance(10)) break;
        for (const uint64_t id : opening_.replaces) table_.Find(id)->Stop();
        handler_->OnWritten();
        IncomingMessage message;
        message.opened = {.size_bytes = kThreads * kRegionBytes,
                          .read_only = false,
                          .window_operations = 16,
                          .window_bytes = 128 << 10,
                          .max_data_bytes = 10000,
                          .uid = "uid"};
        handler_->OnMessage(message);
        continue;
      }
      if (Chance(50)) {  // Before anything took effect.
        still_to_run_ = std::move(event.operations);
        break;
      }
      const bool late = Chance(2);  // OnWritten comes after the answers.
      if (!late) handler_->OnWritten();
      if (!Answer(event.operations)) break;
      if (late) handler_->OnWritten();
    }
    std::exchange(handler_, nullptr)
        ->OnClosed(absl::UnavailableError("the stream died"));
    Haunt();
  }

  // Returns when nothing of this stream takes effect any more.
  void Stop() {
    MutexLock lock(&mu_);
    stopped_ = true;
  }

 private:
  struct Event {
    enum { kStart, kMessage, kEnd } kind;
    std::vector<SentOperation> operations;
  };

  bool Chance(int one_in) { return random_() % one_in == 0; }

  // The client believes that the stream is dead, and the server knows nothing
  // of it: what it has received takes effect late, unless it is stopped.
  void Haunt() {
    for (const SentOperation& operation : still_to_run_) {
      for (uint64_t left = random_() % 1000; left > 0; --left) {
        std::this_thread::yield();
      }
      MutexLock lock(&mu_);
      if (stopped_) return;
      std::string read;
      store_.Apply(operation, read);
    }
  }

  // In random order and groups. False if the stream died on the way.
  bool Answer(std::vector<SentOperation>& operations) {
    std::shuffle(operations.begin(), operations.end(), random_);
    for (size_t at = 0; at < operations.size();) {
      IncomingMessage message;
      std::deque<std::string> data;  // Its elements do not move.
      do {
        data.emplace_back();
        store_.Apply(operations[at], data.back());
        OperationResult& result = message.results.emplace_back();
        result.id = operations[at].head.id;
        const std::string_view all = data.back();
        result.data = {all.substr(0, all.size() / 2),
                       all.substr(all.size() / 2)};
      } while (++at < operations.size() && Chance(2));
      if (Chance(50)) {  // Some took effect, but were not answered.
        still_to_run_.assign(operations.begin() + at, operations.end());
        return false;
      }
      handler_->OnMessage(message);
    }
    return true;
  }

  void Push(Event event) {
    MutexLock lock(&mu_);
    events_.push_back(std::move(event));
    pushed_.Signal();
  }

  Event Pop() {
    MutexLock lock(&mu_);
    while (events_.empty()) pushed_.Wait(&mu_);
    Event event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

  Store& store_;
  StreamTable& table_;
  const StreamOpening opening_;
  std::mt19937_64 random_;
  std::shared_ptr<IoStreamHandler> handler_;
  std::vector<SentOperation> prepared_;
  std::vector<SentOperation> still_to_run_;

  Mutex mu_;
  CondVar pushed_;
  std::deque<Event> events_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

class ServedTransport : public IoTransport {
 public:
  ServedTransport(Store& store, uint64_t seed) : store_(store), seed_(seed) {}

  std::shared_ptr<IoStream> NewStream(
      int, const StreamOpening& opening,
      std::shared_ptr<IoStreamHandler> handler) override {
    MutexLock lock(&mu_);
    auto stream = std::make_shared<ServedStream>(store_, table_, opening,
                                                 ++seed_, std::move(handler));
    table_.Add(opening.stream_id, stream);
    threads_.emplace_back([stream] { stream->Serve(); });
    return stream;
  }

  // Once the volume is closed; a stream's last callback may still run.
  void Join() {
    while (true) {
      std::vector<std::thread> threads;
      {
        MutexLock lock(&mu_);
        threads.swap(threads_);
      }
      if (threads.empty()) return;
      for (std::thread& thread : threads) thread.join();
    }
  }

 private:
  Store& store_;
  StreamTable table_;
  Mutex mu_;
  uint64_t seed_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mu_);
};

// Works on a region of its own and knows what it must hold.
void Work(const RemoteVolume& volume, int64_t start, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string expected(kRegionBytes, '\0');
  for (int round = 0; round < kRounds && !testing::Test::HasFailure();
       ++round) {
    const int64_t offset = random() % (kRegionBytes - 1);
    const int64_t length =
        1 + random() % std::min<int64_t>(30000, kRegionBytes - offset);
    absl::Status status;
    switch (random() % 3) {
      case 0: {
        const std::string data(length, static_cast<char>(random()));
        status = volume.Write(start + offset, data);
        expected.replace(offset, length, data);
        break;
      }
      case 1:
        status = volume.Trim(start + offset, length);
        expected.replace(offset, length, length, '\0');
        break;
      default: {
        absl::StatusOr<std::string> data = volume.Read(start + offset, length);
        status = data.status();
        if (data.ok()) {
          ASSERT_TRUE(*data == expected.substr(offset, length))
              << "bytes differ in round " << round << " of seed " << seed;
        }
      }
    }
    ASSERT_TRUE(status.ok()) << status << ", seed " << seed;
  }
}

// Starts reads from within callbacks, `left` in all, then says so.
void ChainReads(const RemoteVolume& volume, char* buffer, int left,
                std::atomic<int>& ended) {
  volume.ReadAsync(left % 1000, absl::MakeSpan(buffer, 100),
                   [volume, buffer, left, &ended](absl::Status status) {
                     EXPECT_TRUE(status.ok()) << status;
                     if (left > 1) {
                       ChainReads(volume, buffer, left - 1, ended);
                     } else {
                       ++ended;
                     }
                   });
}

TEST(PipelineStressTest, NothingIsLostOrInvented) {
  const uint64_t seed = std::random_device()();
  RecordProperty("seed", std::to_string(seed));
  std::cerr << "seed " << seed << "\n";
  Store store;
  auto transport = std::make_shared<ServedTransport>(store, seed);
  ClientOptions options;
  options.channels = 3;
  options.initial_backoff = absl::Microseconds(100);
  options.max_backoff = absl::Milliseconds(1);
  options.max_inflight_bytes = 100000;
  std::atomic<int> chains_ended = 0;
  std::vector<std::string> buffers(2, std::string(100, ' '));
  {
    absl::StatusOr<std::shared_ptr<VolumeConnection>> connection =
        OpenPipelined("scratch", options, transport, MakeThreadTimer());
    ASSERT_TRUE(connection.ok()) << connection.status();
    const RemoteVolume volume(*std::move(connection));
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back(
          [&, t] { Work(volume, t * kRegionBytes, seed + t); });
    }
    for (std::string& buffer : buffers) {
      ChainReads(volume, buffer.data(), kRounds, chains_ended);
    }
    for (std::thread& thread : threads) thread.join();
    while (chains_ended < 2) ASSERT_TRUE(volume.Flush().ok());
  }
  transport->Join();
}

}  // namespace
}  // namespace ramvol
