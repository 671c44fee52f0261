// One invocation of `ramvol`.
#ifndef RAMVOL_CLIENT_CLI_INVOCATION_H_
#define RAMVOL_CLIENT_CLI_INVOCATION_H_

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cli/cli_context.h"
#include "client/client.h"
#include "client/options.h"
#include "google/protobuf/message.h"

namespace ramvol::cli {

enum class OutputFormat { kTable, kWide, kName, kJson, kYaml };

// The words of --output, in the order of OutputFormat.
inline constexpr std::array<const char*, 5> kOutputFormats = {
    "table", "wide", "name", "json", "yaml"};
// Ignores case. nullopt when `word` is none of them.
std::optional<OutputFormat> ParseOutputFormat(const std::string& word);

// Flags that every command takes.
struct CommonFlags {
  // Empty until CompleteFlags, like those below it.
  std::string server = {};
  std::string context = {};
  // As in ClientOptions.
  std::string tls_ca = {};
  std::string tls_cert = {};
  std::string tls_key = {};
  std::string token_file = {};
  absl::Duration timeout = absl::Seconds(60);
  OutputFormat output = OutputFormat::kTable;
};

// What the commands share: the common flags, connections to the server, and
// the output. Not thread-safe. Borrows `context`.
class Invocation {
 public:
  explicit Invocation(const CliContext& context) : context_(context) {}

  const CliContext& context() const { return context_; }
  CommonFlags& flags() { return flags_; }
  const CommonFlags& flags() const { return flags_; }
  bool wide() const { return flags_.output == OutputFormat::kWide; }
  bool names() const { return flags_.output == OutputFormat::kName; }
  // Whether programs read the output.
  bool structured() const {
    return flags_.output == OutputFormat::kJson ||
           flags_.output == OutputFormat::kYaml;
  }

  // A usage error as CheckCredentials has it.
  absl::Status CheckFlags() const;
  // For single calls. They fail at once when no server answers.
  Client ControlClient() const;
  // The same for another server; "" means the usual one.
  Client ControlClient(const std::string& server) const;
  // For transfers. They wait up to 10 s for a server that went away.
  Client DataClient() const;

  // Writes to standard output.
  absl::Status Print(const std::string& text) const;
  // Prints the message as JSON or YAML, or else `text`, a table. A usage error
  // with --output=name: the message is not about volumes.
  absl::Status PrintMessage(const google::protobuf::Message& message,
                            const std::string& text) const;
  // The same for a message about the volumes `names`.
  absl::Status PrintVolumes(const google::protobuf::Message& message,
                            const std::string& text,
                            const std::vector<std::string>& names) const;
  // Prints the error of a command on standard error, as a line of text or of
  // JSON. For an unknown volume, asks the server which name was meant.
  void PrintFailure(const std::string& command,
                    const absl::Status& status) const;
  // Writes to standard error. Ignores errors.
  void PrintError(const std::string& text) const;
  // Reads the answer to a question. True for "y" or "yes".
  bool ReadYes() const;
  // Writes a line to standard error if that is a terminal.
  void Remark(const std::string& text) const;

 private:
  // For `server`, with the common flags.
  ClientOptions Options(const std::string& server) const;
  // Adds the name of the volume that was probably meant.
  absl::Status WithSuggestion(const absl::Status& status) const;

  const CliContext& context_;
  CommonFlags flags_;
};

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_INVOCATION_H_
