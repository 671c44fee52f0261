// One run of the command line: its common flags, connections and output.
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
#include "google/protobuf/message.h"

namespace ramvol::cli {

enum class OutputFormat { kTable, kWide, kName, kJson, kYaml };

// The words of --output, in that order.
inline constexpr std::array<const char*, 5> kOutputFormats = {
    "table", "wide", "name", "json", "yaml"};
// nullopt when `word` is none of them, in either case.
std::optional<OutputFormat> ParseOutputFormat(const std::string& word);

// Flags that every command takes.
struct CommonFlags {
  std::string server = "127.0.0.1:7420";
  absl::Duration timeout = absl::Seconds(60);
  OutputFormat output = OutputFormat::kTable;
};

class Invocation {
 public:
  explicit Invocation(const CliContext& context) : context_(context) {}

  const CliContext& context() const { return context_; }
  CommonFlags& flags() { return flags_; }
  const CommonFlags& flags() const { return flags_; }
  bool wide() const { return flags_.output == OutputFormat::kWide; }
  bool names() const { return flags_.output == OutputFormat::kName; }
  // Whether the output is for programs.
  bool structured() const {
    return flags_.output == OutputFormat::kJson ||
           flags_.output == OutputFormat::kYaml;
  }

  // For single calls: fails at once when no server answers.
  Client ControlClient() const;
  // For long transfers: waits a while for a server that went away.
  Client DataClient() const;

  // Writes to standard output.
  absl::Status Print(const std::string& text) const;
  // The message as JSON or YAML, or `text` of a table. A usage error with
  // --output=name: such a message has none.
  absl::Status PrintMessage(const google::protobuf::Message& message,
                            const std::string& text) const;
  // The same of a message about volumes of these names.
  absl::Status PrintVolumes(const google::protobuf::Message& message,
                            const std::string& text,
                            const std::vector<std::string>& names) const;
  // The error of a command, on standard error: a line, or a line of JSON. May
  // ask the server for the names that there are.
  void PrintFailure(const std::string& command,
                    const absl::Status& status) const;
  // Writes to standard error, errors ignored.
  void PrintError(const std::string& text) const;
  // Reads the answer to a question; true for "y" or "yes".
  bool ReadYes() const;
  // A remark for a person who watches: only on a terminal.
  void Remark(const std::string& text) const;

 private:
  // With the name of the volume that was probably meant.
  absl::Status WithSuggestion(const absl::Status& status) const;

  const CliContext& context_;
  CommonFlags flags_;
};

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_INVOCATION_H_
