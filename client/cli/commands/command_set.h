// How commands are declared to the parser.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_COMMAND_SET_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_COMMAND_SET_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/cli/invocation.h"
#include "google/protobuf/duration.pb.h"

namespace ramvol::cli {

// The commands of one command line. CLI11 throws on a wrong command line. Only
// RunCli (client/cli/run_cli.h) catches that. Nothing else throws.
class CommandSet {
 public:
  using Action = std::function<absl::Status()>;

  CommandSet(CLI::App& app, Invocation& invocation);

  // Declares a command, and returns its parser, to which the caller adds the
  // arguments. RunUsed runs `action` if this is the command that was used.
  CLI::App* Add(const std::string& name, const std::string& description,
                Action action);

  Invocation& invocation() const { return invocation_; }
  CLI::App& app() const { return app_; }

  // The name of the command that was used.
  const std::string& used() const { return used_; }
  absl::Status RunUsed() const;

 private:
  CLI::App& app_;
  Invocation& invocation_;
  std::string used_;
  Action action_;
};

// Ends the help of every command.
inline constexpr char kCommonHelp[] =
    "--server, --timeout, --output and exit codes: see \"ramvol --help\".";

// A size such as 10G or 4096. `names` are in CLI11's syntax: "--limit", "SIZE".
CLI::Option* AddSize(CLI::App* command, const std::string& names, int64_t* size,
                     const std::string& description);
CLI::Option* AddSize(CLI::App* command, const std::string& names,
                     std::optional<int64_t>* size,
                     const std::string& description);

// A whole number.
CLI::Option* AddInt(CLI::App* command, const std::string& names,
                    std::optional<int>* number, const std::string& description);

// Such as 500ms, 10s, 2m or 7d, or plain seconds; nullopt when it is no time.
std::optional<absl::Duration> ParseTime(absl::string_view text);

// A time above 0, such as 500ms, 10s, 2m or 7d. A plain number means seconds.
CLI::Option* AddTime(CLI::App* command, const std::string& names,
                     absl::Duration* time, const std::string& description);
CLI::Option* AddTime(CLI::App* command, const std::string& names,
                     std::optional<absl::Duration>* time,
                     const std::string& description);

// --ttl, a time such as 2h or 7d, or 0.
CLI::Option* AddTtl(CLI::App* command, std::optional<absl::Duration>* ttl,
                    const std::string& description);
google::protobuf::Duration ToProto(absl::Duration duration);

// Restricts an option to these words. Ignores case.
CLI::Option* Restrict(CLI::Option* option,
                      const std::vector<std::string>& words);

// The volume's name, which is required.
CLI::Option* AddVolumeName(CLI::App* command, std::string* name);

// --force, for a command that changes a volume's content.
void AddForce(CLI::App* command, bool* force);

// "key=value" words. A word without "=" is a usage error.
struct Label {
  std::string key;
  std::string value;
};
CLI::Option* AddLabels(CLI::App* command, std::vector<Label>* labels,
                       const std::string& description);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_COMMAND_SET_H_
