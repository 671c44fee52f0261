// An NBD client for tests that sends whatever it is told.
#ifndef RAMVOL_TESTS_NBD_BRIDGE_RAW_CLIENT_H_
#define RAMVOL_TESTS_NBD_BRIDGE_RAW_CLIENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nbd_bridge/protocol/transmission.h"
#include "nbd_bridge/socket.h"

namespace ramvol::testing {

struct OptionAnswer {
  uint32_t option = 0;
  nbd::OptionReply type = nbd::OptionReply::kAck;
  std::string data;
};

// All chunks of one reply.
struct Answer {
  struct Piece {
    uint64_t offset = 0;
    std::string data;  // Zeroes for a hole.
    bool hole = false;
  };
  struct Status {
    uint64_t length = 0;
    uint32_t flags = 0;
    friend bool operator==(const Status&, const Status&) = default;
  };
  uint64_t cookie = 0;
  nbd::Error error = nbd::Error::kNone;
  std::string message;
  std::vector<Piece> pieces;
  std::vector<Status> statuses;
  // What was read, by its offset, all pieces together.
  std::string Data() const;
};

// Every receiving call fails the test, and answers nothing, when the server
// has closed the connection or does not answer for a minute.
class RawClient {
 public:
  // Owns `fd`, a connected socket.
  explicit RawClient(int fd) : socket_(fd) {}

  nbd::Socket& socket() { return socket_; }

  // The greeting and the client's flags.
  void Greet(uint32_t flags = 3);
  void SendOption(uint32_t option, std::string_view data);
  void SendOption(nbd::Option option, std::string_view data = "") {
    SendOption(static_cast<uint32_t>(option), data);
  }
  OptionAnswer ReadOptionAnswer();
  // Sends, and reads the last answer; what came before it goes to *earlier.
  OptionAnswer Ask(nbd::Option option, std::string_view data = "",
                   std::vector<OptionAnswer>* earlier = nullptr);
  // The whole handshake.
  void Enter(std::string_view name, nbd::Style style, bool block_status = true);

  // Data of options.
  static std::string GoData(std::string_view name,
                            const std::vector<uint16_t>& infos = {});
  static std::string MetaData(std::string_view name,
                              const std::vector<std::string>& queries);

  // A request's bytes. A payload sets its flag in the extended style.
  static std::string Encode(nbd::Style style, nbd::RequestHeader header,
                            std::string_view payload = "");

  void Send(nbd::RequestHeader header, std::string_view payload = "");
  void Send(nbd::Command command, uint64_t cookie, uint64_t offset,
            uint64_t length, uint16_t flags = 0);
  void SendWrite(uint64_t cookie, uint64_t offset, std::string_view data,
                 uint16_t flags = 0);
  // With simple replies, `read_bytes` of data follow a success.
  Answer Read(uint64_t read_bytes = 0);

  // Whether the server closes the connection without another word.
  bool SeesEnd();

 private:
  std::string Receive(size_t bytes);
  // One chunk into `answer`; whether it was the last.
  bool ReadChunk(Answer& answer);
  void AddError(std::string_view payload, Answer& answer);
  void AddStatuses(std::string_view payload, bool extended, Answer& answer);

  nbd::Socket socket_;
  nbd::Style style_ = nbd::Style::kSimple;
  bool broken_ = false;
};

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_NBD_BRIDGE_RAW_CLIENT_H_
