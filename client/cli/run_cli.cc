#include "client/cli/run_cli.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/file_error.h"
#include "base/version.h"
#include "client/cli/cli_context.h"
#include "client/cli/client_config.h"
#include "client/cli/commands/attach_commands.h"
#include "client/cli/commands/auth_commands.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/compare_commands.h"
#include "client/cli/commands/completion_command.h"
#include "client/cli/commands/config_command.h"
#include "client/cli/commands/data_commands.h"
#include "client/cli/commands/diff_command.h"
#include "client/cli/commands/events_command.h"
#include "client/cli/commands/export_command.h"
#include "client/cli/commands/extents_command.h"
#include "client/cli/commands/image_commands.h"
#include "client/cli/commands/import_command.h"
#include "client/cli/commands/list_command.h"
#include "client/cli/commands/nbd_commands.h"
#include "client/cli/commands/remove_command.h"
#include "client/cli/commands/show_commands.h"
#include "client/cli/commands/snapshot_commands.h"
#include "client/cli/commands/top_command.h"
#include "client/cli/commands/volume_commands.h"
#include "client/cli/commands/wait_command.h"
#include "client/cli/errors.h"
#include "client/cli/exit_code.h"
#include "client/cli/invocation.h"
#include "client/cli/wording.h"
#include "client/options.h"
#include "client/server_address.h"

namespace ramvol::cli {
namespace {

void AddCommonFlags(CLI::App& app, CommonFlags& flags) {
  app.add_option("--server", flags.server,
                 absl::StrCat("Where ramvold listens: HOST, HOST:PORT or "
                              "unix:PATH (default: RAMVOL_SERVER, the current "
                              "context's, or ",
                              ClientOptions().server, ")"))
      ->type_name("ADDR");
  app.add_option("--context", flags.context,
                 "The server of this name; see \"ramvol config --help\" "
                 "(default: RAMVOL_CONTEXT)")
      ->type_name("NAME");
  const auto add_file = [&app](const char* name, std::string& path,
                               const char* description) {
    app.add_option(name, path, description)->type_name("FILE");
  };
  add_file("--tls-ca", flags.tls_ca,
           "The certificates that sign the server's, in PEM, or \"system\" for "
           "those of this machine; without, no TLS (default: RAMVOL_TLS_CA)");
  add_file("--tls-cert", flags.tls_cert,
           "The certificate that says who you are (default: RAMVOL_TLS_CERT)");
  add_file("--tls-key", flags.tls_key,
           "The key of --tls-cert (default: RAMVOL_TLS_KEY)");
  add_file("--token-file", flags.token_file,
           "A file with a token that says who you are (default: "
           "RAMVOL_TOKEN_FILE)");
  AddTime(&app, "--timeout", &flags.timeout,
          "Longest time for one call to the server (default 60s)");
  Restrict(app.add_option_function<std::string>(
               "-o,--output",
               [&flags](const std::string& format) {
                 flags.output =
                     ParseOutputFormat(format).value_or(flags.output);
               },
               "json or yaml for scripts, the names alone, or a table (the "
               "default), wide if there is more to show"),
           {kOutputFormats.begin(), kOutputFormats.end()});
}

// This program's flags have dashes, the daemons' have underscores. Accepts both
// spellings. Words after "--" are not flags.
std::vector<std::string> WithDashes(std::vector<std::string> arguments) {
  for (std::string& word : arguments) {
    if (word == "--") break;
    if (!absl::StartsWith(word, "--")) continue;
    std::replace(word.begin(),
                 word.begin() + std::min(word.find('='), word.size()), '_',
                 '-');
  }
  return arguments;
}

// Finds --output before parsing, so that errors of the command line have that
// format.
OutputFormat FindOutputFormat(const std::vector<std::string>& arguments) {
  std::optional<OutputFormat> format;
  for (size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
    absl::string_view word = arguments[i];
    if ((word == "-o" || word == "--output") && i + 1 < arguments.size()) {
      format = ParseOutputFormat(arguments[i + 1]);
    } else if (absl::ConsumePrefix(&word, "--output=") ||
               absl::ConsumePrefix(&word, "-o")) {
      format = ParseOutputFormat(std::string(word));
    }
  }
  return format.value_or(OutputFormat::kTable);
}

// The parser of the command that was named, or of the whole program.
const CLI::App& Used(const CLI::App& app) {
  const std::vector<CLI::App*> used = app.get_subcommands();
  return used.empty() ? app : *used.front();
}

std::string SeeHelp(const CLI::App& app) {
  const CLI::App& used = Used(app);
  return &used == &app
             ? "; see \"ramvol --help\""
             : absl::StrCat("; see \"ramvol ", used.get_name(), " --help\"");
}

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command :
       app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

std::vector<std::string> FlagNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* one : {&Used(app), &app}) {
    for (const CLI::Option* option : one->get_options()) {
      for (const std::string& name : option->get_lnames()) {
        names.push_back(absl::StrCat("--", name));
      }
    }
  }
  return names;
}

std::string DidYouMean(const std::string& nearest) {
  return nearest.empty() ? ""
                         : absl::StrCat("; did you mean \"", nearest, "\"?");
}

std::string NoSuchCommand(const CLI::App& app, const std::string& name) {
  const std::string nearest = Nearest(name, CommandNames(app));
  return absl::StrCat(
      "there is no command \"", name, "\"",
      nearest.empty() ? "; \"ramvol help\" lists them" : DidYouMean(nearest));
}

// The error for words that no command and no flag takes.
std::string UnexpectedText(const CLI::App& app,
                           const std::vector<std::string>& words) {
  const std::string& first = words.front();
  if (absl::StartsWith(first, "-")) {
    const std::string flag = first.substr(0, first.find('='));
    const std::string nearest = Nearest(flag, FlagNames(app));
    return absl::StrCat("there is no flag ", flag,
                        nearest.empty() ? SeeHelp(app) : DidYouMean(nearest));
  }
  if (&Used(app) == &app) return NoSuchCommand(app, first);
  return absl::StrCat("unexpected ",
                      words.size() > 1 ? "arguments: " : "argument: ",
                      absl::StrJoin(words, " "), SeeHelp(app));
}

// Rewords CLI11's "--server: 1 required ADDR missing".
std::string MismatchText(const std::string& what) {
  const std::vector<std::string> parts =
      absl::StrSplit(what, absl::MaxSplits(": 1 required ", 1));
  if (parts.size() != 2) return what;
  return absl::StrCat(parts[0], " needs a value, ",
                      absl::StripSuffix(parts[1], " missing"));
}

std::string ParseErrorText(const CLI::App& app, const CLI::ParseError& error) {
  // An unknown word may be the reason why something else is missing.
  const std::vector<std::string> rest = app.remaining(/*recurse=*/true);
  const bool missing =
      dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  const bool extra = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  if (!rest.empty() && (missing || extra)) return UnexpectedText(app, rest);
  if (missing && &Used(app) == &app) {
    return "name a command; \"ramvol help\" lists them";
  }
  return absl::StrCat(MismatchText(error.what()), SeeHelp(app));
}

// App::help() explains the command that was parsed, if there was one.
std::string OverallHelp(const CLI::App& app) {
  return app.get_formatter()->make_help(&app, "ramvol",
                                        CLI::AppFormatMode::Normal);
}

void AddHelpCommand(CommandSet& commands) {
  auto topic = std::make_shared<std::string>();
  CLI::App& app = commands.app();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "help", "Explain a command",
      [&app, &invocation, topic]() -> absl::Status {
        if (topic->empty()) return invocation.Print(OverallHelp(app));
        for (const CLI::App* found : app.get_subcommands(
                 [&topic](CLI::App* one) { return one->check_name(*topic); })) {
          return invocation.Print(found->help("ramvol"));
        }
        return UsageError(NoSuchCommand(app, *topic));
      });
  command->add_option("COMMAND", *topic, "The command")->type_name("");
}

// Prints what is wrong with the command line, or what --help or --version asks
// for.
absl::Status Parse(CLI::App& app, const std::vector<std::string>& arguments,
                   std::string* text) {
  // CLI11 takes the arguments in reverse order.
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
    return UsageError(ParseErrorText(app, error));
  }
  return absl::OkStatus();
}

ExitCode Report(const Invocation& invocation, const std::string& command,
                const absl::Status& status) {
  // The reader of our output, such as head(1), has enough. That is no failure.
  if (!status.ok() && !IsBrokenPipe(status)) {
    invocation.PrintFailure(command, status);
  }
  return ExitCodeOf(status);
}

}  // namespace

ExitCode RunCli(const std::vector<std::string>& words,
                const CliContext& context) {
  const std::vector<std::string> arguments = WithDashes(words);
  Invocation invocation(context);
  CLI::App app("Compressed RAM volumes: manage and fill them.", "ramvol");
  CommandSet commands(app, invocation);
  app.require_subcommand(1);
  app.set_version_flag("--version",
                       absl::StrCat("ramvol ", std::string(kVersion)));
  AddCommonFlags(app, invocation.flags());
  AddVolumeCommands(commands);
  AddRemoveCommand(commands);
  AddListCommand(commands);
  AddShowCommands(commands);
  AddEventsCommand(commands);
  AddTopCommand(commands);
  AddSnapshotCommands(commands);
  AddDiffCommand(commands);
  AddDataCommands(commands);
  AddExtentsCommand(commands);
  AddImportCommand(commands);
  AddExportCommand(commands);
  AddImageCommands(commands);
  AddCompareCommands(commands);
  AddWaitCommand(commands);
  AddNbdCommands(commands);
  AddAttachCommands(commands);
  AddConfigCommand(commands);
  AddAuthCommands(commands);
  AddHelpCommand(commands);
  AddCompletionCommand(commands);
  // Comes last, because commands inherit a footer that is set before they are
  // declared.
  app.footer(
      std::string("\nSizes: 4096, 512M, 10G or 10Gi, 1.5T (powers of 1024).\n"
                  "Flags may be spelled with _ for -.\n\n") +
      kExitCodeHelp);

  std::string text;
  absl::Status parsed = Parse(app, arguments, &text);
  if (!parsed.ok()) invocation.flags().output = FindOutputFormat(arguments);
  if (parsed.ok() && text.empty() && commands.used() != kConfigCommand) {
    parsed = CompleteFlags(context, &invocation.flags());
    if (parsed.ok()) parsed = invocation.CheckFlags();
  }
  invocation.flags().server = WithDefaultPort(invocation.flags().server);
  if (!parsed.ok()) return Report(invocation, "usage", parsed);
  if (!text.empty()) return Report(invocation, "help", invocation.Print(text));
  return Report(invocation, commands.used(), commands.RunUsed());
}

}  // namespace ramvol::cli
