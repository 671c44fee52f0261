// One run of the command line: its common flags, connections and output.
#ifndef RAMVOL_CLIENT_CLI_SESSION_H_
#define RAMVOL_CLIENT_CLI_SESSION_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cli/cli_context.h"
#include "client/client.h"
#include "google/protobuf/message.h"

namespace ramvol::cli {

enum class OutputFormat { kTable, kJson };

// Flags that every command takes.
struct CommonFlags {
  std::string server = "127.0.0.1:7420";
  absl::Duration timeout = absl::Seconds(60);
  OutputFormat output = OutputFormat::kTable;
};

class Session {
 public:
  explicit Session(const CliContext& context) : context_(context) {}

  const CliContext& context() const { return context_; }
  CommonFlags& flags() { return flags_; }
  const CommonFlags& flags() const { return flags_; }
  bool json() const { return flags_.output == OutputFormat::kJson; }

  // For single calls: fails at once when no server answers.
  Client ControlClient() const;
  // For long transfers: waits a while for a server that went away.
  Client DataClient() const;

  // Writes to standard output.
  absl::Status Print(const std::string& text) const;
  // The message as JSON, or `text` of a table.
  absl::Status PrintMessage(const google::protobuf::Message& message,
                            const std::string& text) const;
  // Writes to standard error, errors ignored.
  void PrintError(const std::string& text) const;
  // A remark for a person who watches: only on a terminal.
  void Remark(const std::string& text) const;

 private:
  const CliContext& context_;
  CommonFlags flags_;
};

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_SESSION_H_
