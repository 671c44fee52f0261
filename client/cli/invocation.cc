#include "client/cli/invocation.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "base/reason.h"
#include "client/cli/errors.h"
#include "client/cli/local_file.h"
#include "client/cli/output/json.h"
#include "client/cli/wording.h"
#include "client/client.h"
#include "client/options.h"
#include "client/server_address.h"
#include "google/protobuf/message.h"
#include "proto/status.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

constexpr absl::Duration kReconnectTimeout = absl::Seconds(10);
// Most data of an import that is read and not yet acknowledged. This is the
// window of one stream; more would not make imports faster.
constexpr size_t kMaxInflightBytes = 32 << 20;
constexpr size_t kMaxAnswerBytes = 100;
// Bounds the search for a suggestion: the error itself must not wait for long.
constexpr absl::Duration kSuggestionTimeout = absl::Seconds(1);

absl::Status Append(const absl::Status& status, const std::string& text) {
  absl::Status longer(status.code(), absl::StrCat(status.message(), text));
  status.ForEachPayload(
      [&longer](absl::string_view url, const absl::Cord& payload) {
        longer.SetPayload(url, payload);
      });
  return longer;
}

}  // namespace

std::optional<OutputFormat> ParseOutputFormat(const std::string& word) {
  for (size_t i = 0; i < kOutputFormats.size(); ++i) {
    if (absl::EqualsIgnoreCase(word, kOutputFormats[i])) {
      return static_cast<OutputFormat>(i);
    }
  }
  return std::nullopt;
}

Client Invocation::ControlClient() const { return ControlClient(""); }

ClientOptions Invocation::Options(const std::string& server) const {
  ClientOptions options;
  options.server = server;
  options.timeout = flags_.timeout;
  options.tls_ca = flags_.tls_ca;
  options.tls_cert = flags_.tls_cert;
  options.tls_key = flags_.tls_key;
  options.token_file = flags_.token_file;
  return options;
}

absl::Status Invocation::CheckFlags() const {
  const absl::Status checked = CheckCredentials(Options(flags_.server));
  return checked.ok() ? checked : UsageError(std::string(checked.message()));
}

Client Invocation::ControlClient(const std::string& server) const {
  ClientOptions options =
      Options(server.empty() ? flags_.server : WithDefaultPort(server));
  options.channels = 1;
  options.reconnect_timeout = absl::ZeroDuration();
  return context_.connect(options);
}

Client Invocation::DataClient() const {
  ClientOptions options = Options(flags_.server);
  options.reconnect_timeout = std::min(flags_.timeout, kReconnectTimeout);
  options.max_inflight_bytes = kMaxInflightBytes;
  return context_.connect(options);
}

absl::Status Invocation::Print(const std::string& text) const {
  return WriteAll(context_.out_fd, text, "standard output");
}

absl::Status Invocation::PrintMessage(const google::protobuf::Message& message,
                                      const std::string& text) const {
  switch (flags_.output) {
    case OutputFormat::kJson:
      return Print(ToJson(message));
    case OutputFormat::kYaml:
      return Print(ToYaml(message));
    case OutputFormat::kName:
      return NoNames();
    default:
      return Print(text);
  }
}

absl::Status Invocation::PrintVolumes(
    const google::protobuf::Message& message, const std::string& text,
    const std::vector<std::string>& names) const {
  if (!this->names()) return PrintMessage(message, text);
  std::string lines;
  for (const std::string& name : names) {
    absl::StrAppend(&lines, Printable(name), "\n");
  }
  return Print(lines);
}

void Invocation::PrintFailure(const std::string& command,
                              const absl::Status& status) const {
  const absl::Status told = WithSuggestion(status);
  PrintError(structured() ? FormatErrorJson(command, told, flags_.server)
                          : FormatError(command, told, flags_.server));
}

absl::Status Invocation::WithSuggestion(const absl::Status& status) const {
  if (!HasReason(status, reason::kVolumeNotFound)) return status;
  const std::map<std::string, std::string> metadata = GetMetadata(status);
  const auto volume = metadata.find("volume");
  if (volume == metadata.end()) return status;
  ClientOptions options;
  options.server = flags_.server;
  options.channels = 1;
  options.timeout = std::min(flags_.timeout, kSuggestionTimeout);
  options.reconnect_timeout = absl::ZeroDuration();
  absl::StatusOr<std::vector<v1::Volume>> volumes =
      context_.connect(options).ListVolumes();
  if (!volumes.ok()) return status;
  std::vector<std::string> names;
  for (const v1::Volume& one : *volumes) names.push_back(one.name());
  const std::string nearest = Nearest(volume->second, names);
  if (nearest.empty()) return status;
  return Append(status, absl::StrCat("; did you mean \"", nearest, "\"?"));
}

void Invocation::PrintError(const std::string& text) const {
  WriteAll(context_.err_fd, text, "standard error").IgnoreError();
}

bool Invocation::ReadYes() const {
  std::string answer;
  char c = 0;
  while (answer.size() < kMaxAnswerBytes && read(context_.in_fd, &c, 1) == 1 &&
         c != '\n') {
    answer += c;
  }
  return absl::EqualsIgnoreCase(answer, "y") ||
         absl::EqualsIgnoreCase(answer, "yes");
}

void Invocation::Remark(const std::string& text) const {
  if (context_.err_is_terminal) PrintError(absl::StrCat(text, "\n"));
}

}  // namespace ramvol::cli
