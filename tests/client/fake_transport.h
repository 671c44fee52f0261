// A transport whose other side is the test.
#ifndef RAMVOL_TESTS_CLIENT_FAKE_TRANSPORT_H_
#define RAMVOL_TESTS_CLIENT_FAKE_TRANSPORT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "client/io_transport.h"

namespace ramvol {

// An Operation that owns its data.
struct SentOperation {
  Operation head;  // Its `data` is empty.
  std::string data;
};

// Records what is sent; reports what the test says. Not thread-safe.
class FakeStream : public IoStream {
 public:
  FakeStream(int index, StreamOpening opening,
             std::shared_ptr<IoStreamHandler> handler)
      : index(index),
        opening(std::move(opening)),
        handler_(std::move(handler)) {}

  void Start() override { started = true; }
  void Prepare(absl::Span<const Operation> operations) override {
    prepared_.clear();
    if (ignores_data) return;
    for (const Operation& operation : operations) {
      SentOperation sent{operation, std::string(operation.data)};
      sent.head.data = {};
      prepared_.push_back(std::move(sent));
    }
    if (during_prepare) during_prepare();
  }
  void Send() override {
    if (closed) return;
    messages.push_back(std::move(prepared_));
  }
  void HalfClose() override { half_closed = true; }
  void Cancel() override { cancelled = true; }

  // The server opens the volume, having received the first message.
  void Open(VolumeOpened opened) {
    Written();
    IncomingMessage message;
    message.opened = std::move(opened);
    handler_->OnMessage(message);
  }
  void Written() { handler_->OnWritten(); }
  void Answer(std::vector<OperationResult> results) {
    IncomingMessage message;
    message.results = std::move(results);
    handler_->OnMessage(message);
  }
  void Close(absl::Status status) {
    closed = true;
    std::exchange(handler_, nullptr)->OnClosed(std::move(status));
  }

  // All operations sent, in order.
  std::vector<SentOperation> sent() const {
    std::vector<SentOperation> all;
    for (const auto& message : messages) {
      all.insert(all.end(), message.begin(), message.end());
    }
    return all;
  }

  const int index;
  const StreamOpening opening;
  bool ignores_data = false;  // What callers gave may be gone.
  bool started = false;
  bool half_closed = false;
  bool cancelled = false;
  bool closed = false;
  std::vector<std::vector<SentOperation>> messages;
  std::function<void()> during_prepare;

 private:
  std::shared_ptr<IoStreamHandler> handler_;
  std::vector<SentOperation> prepared_;
};

class FakeTransport : public IoTransport {
 public:
  std::shared_ptr<IoStream> NewStream(
      int index, const StreamOpening& opening,
      std::shared_ptr<IoStreamHandler> handler) override {
    streams.push_back(
        std::make_shared<FakeStream>(index, opening, std::move(handler)));
    return streams.back();
  }

  std::vector<std::shared_ptr<FakeStream>> streams;  // In order of creation.
};

}  // namespace ramvol

#endif  // RAMVOL_TESTS_CLIENT_FAKE_TRANSPORT_H_
