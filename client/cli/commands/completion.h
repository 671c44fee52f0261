// Scripts for shell completion.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_COMPLETION_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_COMPLETION_H_

#include <string>
#include <vector>

namespace ramvol::cli {

// What the shells need to know of the parser.
struct CompletionFlag {
  std::string name;        // "--level"; the long form.
  std::string short_name;  // "-o", or "".
  std::string description;
  bool takes_value = false;
  bool takes_file = false;
  std::vector<std::string> choices;  // Of its value, where they are known.
};

struct CompletionCommand {
  std::string name;  // "" for what comes before any command.
  std::string description;
  std::vector<CompletionFlag> flags;  // Its own; the common ones are not in it.
  std::vector<std::string> positionals;
  std::vector<std::string> repeated;  // Those that may come several times.
};

// Scripts that define the completion of `ramvol`; to be sourced, or installed
// where the shell looks for them. They ask the server for volumes' names. The
// first of `commands` is the one without name.
std::string BashCompletion(const std::vector<CompletionCommand>& commands);
std::string ZshCompletion(const std::vector<CompletionCommand>& commands);
std::string FishCompletion(const std::vector<CompletionCommand>& commands);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_COMPLETION_H_
