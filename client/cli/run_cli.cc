#include "client/cli/run_cli.h"

#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file_error.h"
#include "base/version.h"
#include "client/cli/cli_context.h"
#include "client/cli/commands/attach_commands.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/completion_command.h"
#include "client/cli/commands/data_commands.h"
#include "client/cli/commands/export_command.h"
#include "client/cli/commands/extents_command.h"
#include "client/cli/commands/import_command.h"
#include "client/cli/commands/nbd_commands.h"
#include "client/cli/commands/show_commands.h"
#include "client/cli/commands/top_command.h"
#include "client/cli/commands/volume_commands.h"
#include "client/cli/errors.h"
#include "client/cli/exit_code.h"
#include "client/cli/session.h"

namespace ramvol::cli {
namespace {

void AddCommonFlags(CLI::App& app, CommonFlags& flags) {
  app.add_option("--server", flags.server,
                 absl::StrCat("Where ramvold listens: HOST:PORT or unix:PATH "
                              "(default: RAMVOL_SERVER, or ",
                              flags.server, ")"))
      ->type_name("ADDR");
  AddTime(&app, "--timeout", &flags.timeout,
          "Longest time for one call to the server (default 60s)");
  Restrict(app.add_option_function<std::string>(
               "--output",
               [&flags](const std::string& format) {
                 flags.output = absl::EqualsIgnoreCase(format, "json")
                                    ? OutputFormat::kJson
                                    : OutputFormat::kTable;
               },
               "json for scripts, table (the default) for people"),
           {"table", "json"});
}

// App::help() itself explains the command that was parsed, if there was one.
std::string OverallHelp(const CLI::App& app) {
  return app.get_formatter()->make_help(&app, "ramvol",
                                        CLI::AppFormatMode::Normal);
}

void AddHelpCommand(CommandSet& commands) {
  auto topic = std::make_shared<std::string>();
  CLI::App& app = commands.app();
  Session& session = commands.session();
  CLI::App* command = commands.Add(
      "help", "Explain a command", [&app, &session, topic]() -> absl::Status {
        if (topic->empty()) return session.Print(OverallHelp(app));
        for (const CLI::App* found :
             app.get_subcommands([&topic](CLI::App* one) {
               return one->get_name() == *topic;
             })) {
          return session.Print(found->help("ramvol"));
        }
        return UsageError(absl::StrCat("there is no command \"", *topic,
                                       "\"; \"ramvol help\" lists them"));
      });
  command->add_option("COMMAND", *topic, "The command")->type_name("");
}

// What is wrong with the command line, or what --help and --version print.
absl::Status Parse(CLI::App& app, const std::vector<std::string>& arguments,
                   std::string* text) {
  // CLI11 wants them backwards.
  std::vector<std::string> backwards(arguments.rbegin(), arguments.rend());
  try {
    app.parse(backwards);
    return absl::OkStatus();
  } catch (const CLI::CallForHelp&) {
    *text = app.help();
  } catch (const CLI::CallForAllHelp&) {
    *text = app.help();
  } catch (const CLI::CallForVersion& version) {
    *text = absl::StrCat(version.what(), "\n");
  } catch (const CLI::ParseError& error) {
    return UsageError(absl::StrCat(error.what(), "; see \"ramvol --help\""));
  }
  return absl::OkStatus();
}

ExitCode Report(const Session& session, const std::string& command,
                const absl::Status& status) {
  // Whoever read our output has enough: no reason for noise.
  if (!status.ok() && !IsBrokenPipe(status)) {
    session.PrintError(FormatError(command, status, session.flags().server));
  }
  return ExitCodeOf(status);
}

}  // namespace

ExitCode RunCli(const std::vector<std::string>& arguments,
                const CliContext& context) {
  Session session(context);
  session.flags().server =
      context.env("RAMVOL_SERVER").value_or(session.flags().server);
  CLI::App app("Compressed RAM volumes: manage and fill them.", "ramvol");
  CommandSet commands(app, session);
  app.require_subcommand(1);
  app.set_version_flag("--version",
                       absl::StrCat("ramvol ", std::string(kVersion)));
  AddCommonFlags(app, session.flags());
  AddVolumeCommands(commands);
  AddShowCommands(commands);
  AddTopCommand(commands);
  AddDataCommands(commands);
  AddExtentsCommand(commands);
  AddImportCommand(commands);
  AddExportCommand(commands);
  AddNbdCommands(commands);
  AddAttachCommands(commands);
  AddHelpCommand(commands);
  AddCompletionCommand(commands);
  // Last, so that commands do not inherit it.
  app.footer(
      std::string("\nSizes: 4096, 512M, 10G, 1.5T (powers of 1024).\n\n") +
      kExitCodeHelp);

  std::string text;
  absl::Status parsed = Parse(app, arguments, &text);
  if (!parsed.ok()) return Report(session, "usage", parsed);
  if (!text.empty()) return Report(session, "help", session.Print(text));
  return Report(session, commands.used(), commands.RunUsed());
}

}  // namespace ramvol::cli
