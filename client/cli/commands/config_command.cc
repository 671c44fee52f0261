#include "client/cli/commands/config_command.h"

#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/printable.h"
#include "client/cli/client_config.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/cli/output/table.h"
#include "client/options.h"
#include "google/protobuf/text_format.h"
#include "ramvol/v1/client_config.pb.h"

namespace ramvol::cli {
namespace {

struct Arguments {
  std::string action;
  std::string name;
};

// The configuration, the place that it came from, and the arguments.
struct Work {
  const Invocation& invocation;
  std::string path;
  std::string name;
  v1::ClientConfig config;

  absl::Status Save(const std::string& told) const {
    absl::Status written = WriteConfig(path, config);
    return written.ok() ? invocation.Print(told + "\n") : written;
  }
};

absl::Status NoContext(const std::string& name) {
  return UsageError(absl::StrCat("there is no context \"", name,
                                 "\"; \"ramvol config get-contexts\" lists "
                                 "them"));
}

absl::Status View(Work& work) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(work.config, &text);
  return work.invocation.PrintMessage(work.config, text);
}

absl::Status GetContexts(Work& work) {
  Table table({{"CURRENT"}, {"NAME"}, {"SERVER"}, {"TLS"}});
  std::vector<std::string> names;
  for (const v1::ClientContext& context : work.config.contexts()) {
    const bool current = context.name() == work.config.current_context();
    table.AddRow({current ? "*" : "", Printable(context.name()),
                  Printable(context.server()),
                  context.tls_ca().empty() ? "no" : "yes"});
    names.push_back(context.name());
  }
  return work.invocation.PrintVolumes(work.config, table.Render(), names);
}

absl::Status CurrentContext(Work& work) {
  if (work.config.current_context().empty()) {
    return UsageError(
        "no context is current; \"ramvol config use-context\" "
        "chooses one");
  }
  return work.invocation.Print(Printable(work.config.current_context()) + "\n");
}

absl::Status UseContext(Work& work) {
  if (FindContext(&work.config, work.name) == nullptr) {
    return NoContext(work.name);
  }
  work.config.set_current_context(work.name);
  return work.Save(absl::StrCat("switched to context \"", work.name, "\""));
}

// An empty flag leaves what was there.
void Set(const std::string& flag, std::string* field) {
  if (!flag.empty()) *field = flag;
}

// Other programs run in other folders.
void SetPath(const std::string& flag, std::string* field) {
  if (flag.empty()) return;
  *field = flag == ClientOptions::kSystemCa
               ? flag
               : std::filesystem::absolute(flag).string();
}

absl::Status SetContext(Work& work) {
  v1::ClientContext* context = FindContext(&work.config, work.name);
  const bool is_new = context == nullptr;
  if (is_new) {
    context = work.config.add_contexts();
    context->set_name(work.name);
  }
  const CommonFlags& flags = work.invocation.flags();
  Set(flags.server, context->mutable_server());
  SetPath(flags.tls_ca, context->mutable_tls_ca());
  SetPath(flags.tls_cert, context->mutable_tls_cert());
  SetPath(flags.tls_key, context->mutable_tls_key());
  SetPath(flags.token_file, context->mutable_token_file());
  if (context->server().empty()) {
    return UsageError("a context needs a server; give --server");
  }
  return work.Save(absl::StrCat(is_new ? "made" : "changed", " context \"",
                                work.name, "\""));
}

absl::Status DeleteContext(Work& work) {
  if (FindContext(&work.config, work.name) == nullptr) {
    return NoContext(work.name);
  }
  auto& contexts = *work.config.mutable_contexts();
  for (auto context = contexts.begin(); context != contexts.end();) {
    context = context->name() == work.name ? contexts.erase(context)
                                           : std::next(context);
  }
  if (work.config.current_context() == work.name) {
    work.config.clear_current_context();
  }
  return work.Save(absl::StrCat("removed context \"", work.name, "\""));
}

struct Action {
  const char* name;
  bool takes_name;
  absl::Status (*run)(Work&);
};
constexpr Action kActions[] = {
    {"view", false, &View},
    {"get-contexts", false, &GetContexts},
    {"current-context", false, &CurrentContext},
    {"use-context", true, &UseContext},
    {"set-context", true, &SetContext},
    {"delete-context", true, &DeleteContext},
};

std::vector<std::string> ActionNames() {
  std::vector<std::string> names;
  for (const Action& action : kActions) names.emplace_back(action.name);
  return names;
}

absl::Status Config(const Invocation& invocation, const Arguments& arguments) {
  for (const Action& action : kActions) {
    if (arguments.action != action.name) continue;
    if (arguments.name.empty() == action.takes_name) {
      return UsageError(absl::StrCat("this is \"ramvol config ", action.name,
                                     action.takes_name ? " NAME\"" : "\""));
    }
    Work work = {
        invocation, ConfigPath(invocation.context()), arguments.name, {}};
    auto config = ReadConfig(work.path);
    if (!config.ok()) return config.status();
    work.config = *std::move(config);
    return action.run(work);
  }
  return UsageError(absl::StrCat("\"", arguments.action, "\" is no action"));
}

}  // namespace

void AddConfigCommand(CommandSet& commands) {
  auto arguments = std::make_shared<Arguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      kConfigCommand, "Servers by names: see and change the contexts",
      [&invocation, arguments] { return Config(invocation, *arguments); });
  Restrict(command->add_option("ACTION", arguments->action, "What to do"),
           ActionNames())
      ->required();
  command->add_option("NAME", arguments->name, "The context")->type_name("");
  command->footer(
      "ramvol --server=east.example --tls-ca=ca.crt config set-context east\n"
      "  makes or changes a context, of the common flags that are given\n"
      "ramvol config use-context east\n"
      "  makes it the one that counts when no server is given\n"
      "ramvol --context=east ls\n"
      "  uses it once\n\n"
      "They are in ~/.config/ramvol/config.textproto, or what RAMVOL_CONFIG "
      "names.");
}

}  // namespace ramvol::cli
