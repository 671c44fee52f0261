#include "client/cli/session.h"

#include <algorithm>
#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/cli/local_file.h"
#include "client/cli/output/json.h"
#include "client/client.h"
#include "client/options.h"
#include "google/protobuf/message.h"

namespace ramvol::cli {
namespace {

constexpr absl::Duration kReconnectTimeout = absl::Seconds(10);
// What an import may have read and not got rid of yet. More would not make it
// faster: it is as much as one stream's window.
constexpr size_t kMaxInflightBytes = 32 << 20;

}  // namespace

Client Session::ControlClient() const {
  ClientOptions options;
  options.server = flags_.server;
  options.channels = 1;
  options.timeout = flags_.timeout;
  options.reconnect_timeout = absl::ZeroDuration();
  return context_.connect(options);
}

Client Session::DataClient() const {
  ClientOptions options;
  options.server = flags_.server;
  options.timeout = flags_.timeout;
  options.reconnect_timeout = std::min(flags_.timeout, kReconnectTimeout);
  options.max_inflight_bytes = kMaxInflightBytes;
  return context_.connect(options);
}

absl::Status Session::Print(const std::string& text) const {
  return WriteAll(context_.out_fd, text, "standard output");
}

absl::Status Session::PrintMessage(const google::protobuf::Message& message,
                                   const std::string& text) const {
  return Print(json() ? ToJson(message) : text);
}

void Session::PrintError(const std::string& text) const {
  WriteAll(context_.err_fd, text, "standard error").IgnoreError();
}

void Session::Remark(const std::string& text) const {
  if (context_.err_is_terminal) PrintError(absl::StrCat(text, "\n"));
}

}  // namespace ramvol::cli
