#include "client/cli/commands/completion_command.h"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/completion.h"
#include "client/cli/invocation.h"

namespace ramvol::cli {
namespace {

// Restrict shows choices as "{a,b}" in the type's name.
std::vector<std::string> Choices(const std::string& type_name) {
  const size_t open = type_name.find('{');
  const size_t close = type_name.rfind('}');
  if (open == std::string::npos || close == std::string::npos) return {};
  return absl::StrSplit(type_name.substr(open + 1, close - open - 1), ',');
}

CompletionCommand Describe(const CLI::App& app) {
  CompletionCommand command;
  command.name = app.get_name();
  command.description = app.get_description();
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      command.positionals.push_back(option->get_name());
      if (option->get_expected_max() > 1) {
        command.repeated.push_back(option->get_name());
      }
      continue;
    }
    if (option->get_lnames().empty()) continue;
    const std::string type_name = option->get_type_name();
    command.flags.push_back(
        {.name = absl::StrCat("--", option->get_lnames()[0]),
         .short_name = option->get_snames().empty()
                           ? ""
                           : absl::StrCat("-", option->get_snames()[0]),
         .description = option->get_description(),
         .takes_value = option->get_expected_max() > 0,
         .takes_file = type_name == "FILE",
         .choices = Choices(type_name)});
  }
  return command;
}

}  // namespace

std::vector<CompletionCommand> DescribeCommands(const CLI::App& app) {
  std::vector<CompletionCommand> commands = {Describe(app)};
  commands[0].name.clear();
  for (const CLI::App* command :
       app.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(Describe(*command));
  }
  return commands;
}

void AddCompletionCommand(CommandSet& commands) {
  auto shell = std::make_shared<std::string>();
  Invocation& invocation = commands.invocation();
  const CLI::App& app = commands.app();
  CLI::App* command = commands.Add(
      "completion", "Print a shell's completion script",
      [&invocation, &app, shell]() -> absl::Status {
        const std::vector<CompletionCommand> all = DescribeCommands(app);
        if (*shell == "bash") return invocation.Print(BashCompletion(all));
        if (*shell == "zsh") return invocation.Print(ZshCompletion(all));
        return invocation.Print(FishCompletion(all));
      });
  Restrict(command->add_option("SHELL", *shell, "The shell"),
           {"bash", "zsh", "fish"})
      ->required();
  command->footer(
      std::string("For bash: source <(ramvol completion bash)\n\n") +
      kCommonHelp);
}

}  // namespace ramvol::cli
