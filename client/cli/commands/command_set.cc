#include "client/cli/commands/command_set.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/size.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"

namespace ramvol::cli {
namespace {

int64_t ParseSizeOrThrow(const std::string& names, const std::string& text) {
  absl::StatusOr<uint64_t> size = ParseSize(text);
  if (!size.ok()) {
    throw CLI::ValidationError(names, std::string(size.status().message()));
  }
  return static_cast<int64_t>(*size);
}

template <typename Target>
CLI::Option* AddSizeTo(CLI::App* command, const std::string& names,
                       Target* size, const std::string& description) {
  return command
      ->add_option_function<std::string>(
          names,
          [names, size](const std::string& text) {
            *size = ParseSizeOrThrow(names, text);
          },
          description)
      ->type_name(names[0] == '-' ? "SIZE" : "");
}

absl::Duration ParseTimeOrThrow(const std::string& names,
                                const std::string& text) {
  const std::optional<absl::Duration> time = ParseTime(text);
  if (time.has_value() && *time > absl::ZeroDuration()) return *time;
  throw CLI::ValidationError(
      names,
      absl::StrCat("\"", text, "\" is not a time such as 500ms, 10s or 2m"));
}

template <typename Target>
CLI::Option* AddTimeTo(CLI::App* command, const std::string& names,
                       Target* time, const std::string& description) {
  return command
      ->add_option_function<std::string>(
          names,
          [names, time](const std::string& text) {
            *time = ParseTimeOrThrow(names, text);
          },
          description)
      ->type_name("TIME");
}

}  // namespace

std::optional<absl::Duration> ParseTime(absl::string_view text) {
  double number = 0;
  if (absl::SimpleAtod(text, &number)) return absl::Seconds(number);
  absl::Duration time;
  if (absl::ParseDuration(text, &time)) return time;
  if (absl::ConsumeSuffix(&text, "d") && absl::SimpleAtod(text, &number)) {
    return number * absl::Hours(24);
  }
  return std::nullopt;
}

CommandSet::CommandSet(CLI::App& app, Invocation& invocation)
    : app_(app), invocation_(invocation) {}

CLI::App* CommandSet::Add(const std::string& name,
                          const std::string& description, Action action) {
  CLI::App* command = app_.add_subcommand(name, description);
  command->fallthrough();  // Common flags may follow the command.
  command->footer(kCommonHelp);
  command->callback([this, name, action = std::move(action)] {
    used_ = name;
    action_ = action;
  });
  return command;
}

absl::Status CommandSet::RunUsed() const {
  if (action_ == nullptr) return UsageError("no command given");
  return action_();
}

CLI::Option* AddSize(CLI::App* command, const std::string& names, int64_t* size,
                     const std::string& description) {
  return AddSizeTo(command, names, size, description);
}

CLI::Option* AddSize(CLI::App* command, const std::string& names,
                     std::optional<int64_t>* size,
                     const std::string& description) {
  return AddSizeTo(command, names, size, description);
}

CLI::Option* AddInt(CLI::App* command, const std::string& names,
                    std::optional<int>* number,
                    const std::string& description) {
  return command->add_option_function<std::string>(
      names,
      [names, number](const std::string& text) {
        int value = 0;
        if (!absl::SimpleAtoi(text, &value)) {
          throw CLI::ValidationError(
              names, absl::StrCat("\"", text, "\" is no whole number"));
        }
        *number = value;
      },
      description);
}

CLI::Option* AddTime(CLI::App* command, const std::string& names,
                     absl::Duration* time, const std::string& description) {
  return AddTimeTo(command, names, time, description);
}

CLI::Option* AddTime(CLI::App* command, const std::string& names,
                     std::optional<absl::Duration>* time,
                     const std::string& description) {
  return AddTimeTo(command, names, time, description);
}

CLI::Option* AddTtl(CLI::App* command, std::optional<absl::Duration>* ttl,
                    const std::string& description) {
  return command
      ->add_option_function<std::string>(
          "--ttl",
          [ttl](const std::string& text) {
            // Only so that one can say that there is none.
            *ttl = ParseTime(text) == absl::ZeroDuration()
                       ? absl::ZeroDuration()
                       : ParseTimeOrThrow("--ttl", text);
          },
          description)
      ->type_name("TIME");
}

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration proto;
  proto.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
  return proto;
}

CLI::Option* Restrict(CLI::Option* option,
                      const std::vector<std::string>& words) {
  const auto check = [words](const std::string& word) -> std::string {
    const bool known = absl::c_any_of(words, [&word](const std::string& one) {
      return absl::EqualsIgnoreCase(word, one);
    });
    if (known) return "";
    return absl::StrCat("\"", word, "\" is none of ",
                        absl::StrJoin(words, ", "));
  };
  return option->type_name(absl::StrCat("{", absl::StrJoin(words, ","), "}"))
      ->check(CLI::Validator(check, ""));
}

CLI::Option* AddVolumeName(CLI::App* command, std::string* name) {
  return command->add_option("NAME", *name, "The volume")
      ->required()
      ->type_name("");
}

void AddForce(CLI::App* command, bool* force) {
  command->add_flag("--force", *force,
                    "Also while other clients have the volume attached");
}

CLI::Option* AddLabels(CLI::App* command, std::vector<Label>* labels,
                       const std::string& description) {
  return command
      ->add_option_function<std::vector<std::string>>(
          "--label",
          [labels](const std::vector<std::string>& words) {
            for (const std::string& word : words) {
              const size_t equals = word.find('=');
              if (equals == std::string::npos) {
                throw CLI::ValidationError(
                    "--label", absl::StrCat("\"", word, "\" is not KEY=VALUE"));
              }
              labels->push_back(
                  {word.substr(0, equals), word.substr(equals + 1)});
            }
          },
          description)
      ->type_name("KEY=VALUE")
      ->type_size(1)
      ->allow_extra_args(false);
}

}  // namespace ramvol::cli
