#include "client/attach/nbd_handshake.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/file_error.h"
#include "base/nbd_constants.h"

namespace ramvol {
namespace {

// No server sends longer texts.
constexpr uint32_t kMaxReplyBytes = 64 << 10;
constexpr int kMaxReplies = 64;

// Big-endian numbers, one after the other.
class Writer {
 public:
  Writer& U16(uint16_t value) { return Number(value, 2); }
  Writer& U32(uint32_t value) { return Number(value, 4); }
  Writer& U64(uint64_t value) { return Number(value, 8); }
  Writer& Bytes(const std::string& bytes) {
    text_ += bytes;
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  Writer& Number(uint64_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; --i) {
      text_ += static_cast<char>(value >> (8 * i));
    }
    return *this;
  }

  std::string text_;
};

uint64_t Number(std::string_view bytes) {
  uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

absl::Status Lost(int error) {
  // The error of a socket's own timeout.
  if (error == EAGAIN) error = ETIMEDOUT;
  if (error == EINTR) return InterruptedError();
  return FileError(error, "the NBD server broke off the negotiation");
}

absl::Status Send(int fd, const std::string& text) {
  size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t result =
        send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (result < 0) return Lost(errno);
    sent += static_cast<size_t>(result);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Receive(int fd, size_t length) {
  std::string text(length, '\0');
  size_t received = 0;
  while (received < length) {
    const ssize_t result =
        recv(fd, text.data() + received, length - received, 0);
    if (result < 0) return Lost(errno);
    if (result == 0) return Lost(ECONNRESET);
    received += static_cast<size_t>(result);
  }
  return text;
}

absl::Status SendOption(int fd, nbd::Option option, const std::string& data) {
  return Send(fd, Writer()
                      .U64(nbd::kOptionMagic)
                      .U32(static_cast<uint32_t>(option))
                      .U32(static_cast<uint32_t>(data.size()))
                      .Bytes(data)
                      .text());
}

absl::Status NotNbd(const std::string& what) {
  return absl::DataLossError(
      absl::StrCat("what answers there is no NBD server: ", what));
}

absl::Status Greet(int fd) {
  absl::StatusOr<std::string> greeting = Receive(fd, 18);
  if (!greeting.ok()) return greeting.status();
  const std::string_view text = *greeting;
  if (Number(text.substr(0, 8)) != nbd::kInitMagic) {
    return NotNbd("its first bytes are others");
  }
  const auto flags = static_cast<uint16_t>(Number(text.substr(16)));
  if (Number(text.substr(8, 8)) != nbd::kOptionMagic ||
      (flags & nbd::kFlagFixedNewstyle) == 0) {
    return absl::FailedPreconditionError(
        "the NBD server does not speak the fixed newstyle protocol");
  }
  return Send(fd,
              Writer()
                  .U32(flags & (nbd::kFlagFixedNewstyle | nbd::kFlagNoZeroes))
                  .text());
}

struct Reply {
  nbd::OptionReply type = nbd::OptionReply::kAck;
  std::string data;
};

absl::StatusOr<Reply> ReceiveReply(int fd) {
  absl::StatusOr<std::string> head = Receive(fd, 20);
  if (!head.ok()) return head.status();
  const std::string_view text = *head;
  const uint64_t length = Number(text.substr(16, 4));
  if (Number(text.substr(0, 8)) != nbd::kOptionReplyMagic ||
      Number(text.substr(8, 4)) != static_cast<uint32_t>(nbd::Option::kGo) ||
      length > kMaxReplyBytes) {
    return NotNbd("its reply makes no sense");
  }
  absl::StatusOr<std::string> data = Receive(fd, length);
  if (!data.ok()) return data.status();
  return Reply{
      .type = static_cast<nbd::OptionReply>(Number(text.substr(12, 4))),
      .data = *std::move(data)};
}

bool IsError(nbd::OptionReply type) {
  return (static_cast<uint32_t>(type) & nbd::kOptionReplyError) != 0;
}

absl::Status Refused(const Reply& reply, const std::string& name) {
  const std::string said =
      reply.data.empty() ? "" : absl::StrCat(" (it says: ", reply.data, ")");
  if (reply.type == nbd::OptionReply::kErrUnknown) {
    return absl::NotFoundError(
        absl::StrCat("the NBD server has no export \"", name, "\"", said));
  }
  if (reply.type == nbd::OptionReply::kErrTlsRequired) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the NBD server wants TLS, which the kernel cannot speak", said));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "the NBD server refuses export \"", name, "\" with error ",
      static_cast<uint32_t>(reply.type) - nbd::kOptionReplyError, said));
}

// Skips unknown kinds of information.
absl::Status TakeInfo(std::string_view data, NbdExport* result,
                      bool* described) {
  if (data.size() < 2) return NotNbd("its reply makes no sense");
  const auto kind = static_cast<nbd::Info>(Number(data.substr(0, 2)));
  if (kind == nbd::Info::kExport && data.size() == 12) {
    result->size_bytes = Number(data.substr(2, 8));
    result->flags = static_cast<uint16_t>(Number(data.substr(10, 2)));
    *described = true;
  } else if (kind == nbd::Info::kBlockSize && data.size() == 14) {
    result->min_block_bytes = static_cast<uint32_t>(Number(data.substr(2, 4)));
  } else if (kind == nbd::Info::kExport || kind == nbd::Info::kBlockSize) {
    return NotNbd("its reply makes no sense");
  }
  return absl::OkStatus();
}

absl::StatusOr<NbdExport> Go(int fd, const std::string& name) {
  absl::Status sent =
      SendOption(fd, nbd::Option::kGo,
                 Writer()
                     .U32(static_cast<uint32_t>(name.size()))
                     .Bytes(name)
                     .U16(1)
                     .U16(static_cast<uint16_t>(nbd::Info::kBlockSize))
                     .text());
  if (!sent.ok()) return sent;
  NbdExport result;
  bool described = false;
  for (int i = 0; i < kMaxReplies; ++i) {
    absl::StatusOr<Reply> reply = ReceiveReply(fd);
    if (!reply.ok()) return reply.status();
    if (reply->type == nbd::OptionReply::kAck && described) return result;
    if (reply->type == nbd::OptionReply::kInfo) {
      absl::Status taken = TakeInfo(reply->data, &result, &described);
      if (!taken.ok()) return taken;
    } else if (IsError(reply->type)) {
      // The server still waits for another option.
      SendOption(fd, nbd::Option::kAbort, "").IgnoreError();
      return Refused(*reply, name);
    } else {
      return NotNbd("its reply makes no sense");
    }
  }
  return NotNbd("it replies without end");
}

}  // namespace

bool NbdExport::multi_conn() const { return (flags & nbd::kCanMultiConn) != 0; }

bool NbdExport::read_only() const { return (flags & nbd::kReadOnly) != 0; }

absl::StatusOr<NbdExport> NegotiateNbd(int fd, const std::string& name) {
  absl::Status greeted = Greet(fd);
  if (!greeted.ok()) return greeted;
  return Go(fd, name);
}

void DisconnectNbd(int fd) {
  Send(fd, Writer()
               .U32(nbd::kRequestMagic)
               .U16(0)
               .U16(static_cast<uint16_t>(nbd::Command::kDisconnect))
               .U64(0)
               .U64(0)
               .U32(0)
               .text())
      .IgnoreError();
}

}  // namespace ramvol
