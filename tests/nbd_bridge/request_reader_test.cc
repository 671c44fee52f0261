#include "nbd_bridge/request_reader.h"

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "base/nbd_constants.h"
#include "gtest/gtest.h"
#include "nbd_bridge/protocol/wire.h"

namespace ramvol::testing {
namespace {

using nbd::Command;
using nbd::Request;
using nbd::RequestReader;
using nbd::Socket;
using Requests = std::vector<std::unique_ptr<Request>>;

class NoOwner final : public nbd::RequestOwner {
 public:
  uint64_t size_bytes() const override { return 0; }
  void Finish(Request*, const absl::Status&) override { FAIL(); }
};

// A reader, and its client's end.
class RequestReaderTest : public ::testing::Test {
 protected:
  RequestReaderTest() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    server_ = std::make_unique<Socket>(ends[0]);
    client_ = std::make_unique<Socket>(ends[1]);
    reader_ = std::make_unique<RequestReader>(
        *server_, nbd::SessionTraits{.size_bytes = uint64_t{1} << 30}, &owner_);
    reader_->SetWide(true);
  }

  void Send(std::string_view bytes) {
    ASSERT_TRUE(client_->SendAll({bytes.data(), bytes.size()},
                                 absl::Now() + absl::Seconds(60)));
  }
  static std::string Write(size_t length) {
    return nbd::WireWriter()
        .Number(nbd::kRequestMagic)
        .Number(uint16_t{0})
        .Number(static_cast<uint16_t>(Command::kWrite))
        .Number(uint64_t{1})
        .Number(uint64_t{0})
        .Number(static_cast<uint32_t>(length))
        .Bytes(std::string(length, 'x'))
        .text();
  }
  // Reads on until a request is complete.
  std::unique_ptr<Request> ReadOne() {
    Requests requests;
    while (requests.empty()) {
      EXPECT_EQ(reader_->Receive(), RequestReader::Received::kBytes);
      EXPECT_EQ(reader_->Parse(size_t{64} << 20, &requests),
                RequestReader::Parsed::kNeedsBytes);
    }
    EXPECT_EQ(requests.size(), 1);
    return std::move(requests.front());
  }

  NoOwner owner_;
  std::unique_ptr<Socket> server_;
  std::unique_ptr<Socket> client_;
  std::unique_ptr<RequestReader> reader_;
};

TEST_F(RequestReaderTest, SlabsOfABurstAreForgotten) {
  constexpr size_t kLength = 100'000;
  Requests held;
  // Three reach into each slab.
  for (size_t i = 0; i <= 3 * RequestReader::kMaxSlabs; ++i) {
    Send(Write(kLength));
    held.push_back(ReadOne());
  }
  Send(Write(1));
  EXPECT_EQ(ReadOne()->slab, nullptr);
  held.clear();
  Send(Write(1));
  ReadOne();
  Send(Write(1));
  EXPECT_NE(ReadOne()->slab, nullptr);
}

TEST_F(RequestReaderTest, ASmallSlabIsTightForMuch) {
  reader_->SetWide(false);
  Send(Write(2 * RequestReader::kNarrowSlabBytes));
  const auto large = ReadOne();
  EXPECT_TRUE(reader_->IsTight());
  EXPECT_EQ(large->slab, nullptr);
  Send(Write(4096));
  EXPECT_EQ(ReadOne()->slab->size, RequestReader::kNarrowSlabBytes);
  EXPECT_FALSE(reader_->IsTight());
  reader_->SetWide(true);
  Send(Write(100'000));
  EXPECT_EQ(ReadOne()->slab->size, RequestReader::kWideSlabBytes);
  reader_->SetWide(false);
  Send(Write(4096));
  EXPECT_EQ(ReadOne()->slab->size, RequestReader::kNarrowSlabBytes);
  EXPECT_EQ(reader_->held_bytes(), 0);
}

// As stopping and continuing the process does, or a tracer.
TEST_F(RequestReaderTest, AnInterruptedPayloadGoesOn) {
  struct sigaction action{};
  action.sa_handler = [](int) {};
  ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
  const std::string write = Write(100'000);
  std::unique_ptr<Request> request;
  std::thread reading([&] { request = ReadOne(); });
  size_t sent = 0;
  for (; sent < 20'000; sent += 1000) {
    Send(write.substr(sent, 1000));
    // So that it waits for more.
    absl::SleepFor(absl::Milliseconds(5));
    pthread_kill(reading.native_handle(), SIGUSR1);
  }
  Send(write.substr(sent));
  reading.join();
  ASSERT_NE(request, nullptr);
  EXPECT_EQ(request->payload.size(), 100'000);
}

}  // namespace
}  // namespace ramvol::testing
