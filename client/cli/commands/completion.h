// Scripts for shell completion.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_COMPLETION_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_COMPLETION_H_

#include <string>
#include <vector>

namespace ramvol::cli {

// The parts of the parser that shells need to know.
struct CompletionFlag {
  std::string name;        // The long form: "--level".
  std::string short_name;  // "-o", or "".
  std::string description;
  bool takes_value = false;
  bool takes_file = false;
  std::vector<std::string> choices;  // Its possible values, if they are known.
};

struct CompletionCommand {
  std::string name;  // "" for the words before any command.
  std::string description;
  std::vector<CompletionFlag> flags;  // Its own flags, without the common ones.
  std::vector<std::string> positionals;
  std::vector<std::string> repeated;  // Positionals that may be repeated.
};

// Scripts that define the completion of `ramvol`. Users source them, or install
// them where the shell looks for such scripts. The scripts ask the server for
// volumes' names. The first of `commands` is the one without a name.
std::string BashCompletion(const std::vector<CompletionCommand>& commands);
std::string ZshCompletion(const std::vector<CompletionCommand>& commands);
std::string FishCompletion(const std::vector<CompletionCommand>& commands);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_COMPLETION_H_
