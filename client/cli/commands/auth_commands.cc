#include "client/cli/commands/auth_commands.h"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/printable.h"
#include "base/reason.h"
#include "base/token.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/client.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/access_policy.pb.h"
#include "ramvol/v1/access_service.pb.h"

namespace ramvol::cli {
namespace {

constexpr char kAuthHelp[] =
    R"(The actions:

    whoami                    who you are to the server, and what its policy
                              gives to you
    can-i VERB [VOLUME]       whether you may view, read, write, snapshot,
                              create, update, delete or revert VOLUME, or
                              admin the server; fails if not
    new-token NAME            make a bearer token: the token on the first line,
                              for its owner, and on the second one what belongs
                              into ramvold's --token_file. Asks no server.

)";

struct AuthArguments {
  std::string action;
  std::vector<std::string> words;
};

std::string RoleName(v1::Role role) {
  if (role == v1::ROLE_UNSPECIFIED) return "none";
  return absl::AsciiStrToLower(absl::StripPrefix(v1::Role_Name(role), "ROLE_"));
}

std::string GrantText(const v1::EffectiveGrant& grant) {
  std::vector<std::string> on;
  for (const std::string& volume : grant.volumes()) {
    on.push_back(Printable(volume));
  }
  for (const auto& [key, value] : grant.labels()) {
    on.push_back(Printable(absl::StrCat(key, "=", value)));
  }
  return absl::StrCat("  ", RoleName(grant.role()), " on ",
                      on.empty() ? "everything" : absl::StrJoin(on, " "), "\n");
}

absl::Status ShowWho(const Invocation& invocation, const AuthArguments&) {
  const auto who = invocation.ControlClient().WhoAmI();
  if (!who.ok()) return who.status();
  std::string text;
  for (const std::string& identity : who->identities()) {
    absl::StrAppend(&text, Printable(identity), "\n");
  }
  if (who->identities().empty()) text = "anonymous\n";
  if (!who->policy()) {
    text += "  the server has no policy: everyone may do everything\n";
  }
  for (const v1::EffectiveGrant& grant : who->grants()) {
    text += GrantText(grant);
  }
  if (who->policy() && who->grants().empty()) text += "  no role\n";
  return invocation.PrintMessage(*who, text);
}

absl::Status CanI(const Invocation& invocation,
                  const AuthArguments& arguments) {
  v1::CheckAccessRequest request;
  v1::Right right = v1::RIGHT_UNSPECIFIED;
  const std::string& verb = arguments.words[0];
  if (!v1::Right_Parse("RIGHT_" + absl::AsciiStrToUpper(verb), &right) ||
      right == v1::RIGHT_UNSPECIFIED) {
    return UsageError(absl::StrCat(
        "\"", verb,
        "\" is none of view, read, write, snapshot, create, update, delete, "
        "revert, admin"));
  }
  if ((right == v1::RIGHT_ADMIN) != (arguments.words.size() == 1)) {
    return UsageError(right == v1::RIGHT_ADMIN
                          ? "admin is of the server; name no volume"
                          : absl::StrCat("name the volume to ", verb));
  }
  request.set_right(right);
  if (arguments.words.size() > 1) request.set_volume(arguments.words[1]);
  const auto access = invocation.ControlClient().CheckAccess(request);
  if (!access.ok()) return access.status();
  absl::Status printed =
      invocation.PrintMessage(*access, access->allowed() ? "yes\n" : "no\n");
  if (!printed.ok() || access->allowed()) return printed;
  return WithReason(absl::PermissionDeniedError(absl::StrCat(
                        "that needs the role ", RoleName(access->needed()),
                        ", and yours is ", RoleName(access->role()))),
                    reason::kPermissionDenied);
}

absl::Status MakeToken(const Invocation& invocation,
                       const AuthArguments& arguments) {
  const std::string& name = arguments.words[0];
  if (!IsTokenName(name)) {
    return UsageError(absl::StrCat(
        "\"", Printable(name),
        "\" is no name of a token; take 1 to 63 letters, digits and -._"));
  }
  const auto token = NewToken();
  if (!token.ok()) return token.status();
  output::v1::TokenOutput message;
  message.set_name(name);
  message.set_token(*token);
  message.set_line(absl::StrCat(name, ":sha256:", HexOf(DigestOf(*token))));
  return invocation.PrintMessage(
      message, absl::StrCat(message.token(), "\n", message.line(), "\n"));
}

// What an action takes, and does.
struct Action {
  const char* name;
  size_t min_words;
  size_t max_words;
  const char* usage;
  absl::Status (*run)(const Invocation&, const AuthArguments&);
};

const Action kActions[] = {
    {"whoami", 0, 0, "whoami", &ShowWho},
    {"can-i", 1, 2, "can-i VERB [VOLUME]", &CanI},
    {"new-token", 1, 1, "new-token NAME", &MakeToken},
};

absl::Status Auth(const Invocation& invocation,
                  const AuthArguments& arguments) {
  for (const Action& action : kActions) {
    if (arguments.action != action.name) continue;
    const size_t words = arguments.words.size();
    if (words < action.min_words || words > action.max_words) {
      return UsageError(
          absl::StrCat("this is \"ramvol auth ", action.usage, "\""));
    }
    return action.run(invocation, arguments);
  }
  return UsageError(absl::StrCat("\"", arguments.action,
                                 "\" is none of whoami, can-i, new-token"));
}

}  // namespace

void AddAuthCommands(CommandSet& commands) {
  auto arguments = std::make_shared<AuthArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "auth", "Ask who you are and what you may do; make tokens",
      [&invocation, arguments] { return Auth(invocation, *arguments); });
  Restrict(command->add_option("ACTION", arguments->action, "What to do"),
           {"whoami", "can-i", "new-token"})
      ->required();
  command->add_option("WORD", arguments->words, "What the action takes")
      ->type_name("");
  command->footer(std::string(kAuthHelp) + kCommonHelp);
}

}  // namespace ramvol::cli
