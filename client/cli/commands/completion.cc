#include "client/cli/commands/completion.h"

#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace ramvol::cli {
namespace {

constexpr char kBashTemplate[] = R"sh(# bash completion for ramvol
# Of the server that the line names: names of the default one's would be wrong,
# and with rm dangerous.
_ramvol_volumes() {
  local pattern='[[:space:]]--server(=|[[:space:]]+)([^[:space:]]+)' server=
  local rest=$COMP_LINE
  while [[ $rest =~ $pattern ]]; do
    server=${BASH_REMATCH[2]//[\"\']/}
    rest=${rest#*"${BASH_REMATCH[0]}"}
  done
  local list='ls'
  [[ $current == @* ]] && list='snapshot ls'
  ramvol $list --output=name --timeout=1s ${server:+"--server=$server"} \
    2>/dev/null
}
_ramvol() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
  local command= flags= i
  # "--flag=value" comes as three words.
  if [[ $current == "=" ]]; then
    current=
  elif [[ $previous == "=" ]]; then
    previous=${COMP_WORDS[COMP_CWORD-2]}
  fi
  # So does "@name", but as two.
  if [[ $previous == "@" ]]; then
    current=@$current
    previous=${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      @COMMAND_CASES@)
        command=${COMP_WORDS[i]}; break ;;
    esac
  done
  COMPREPLY=()
  # "volume@name" is of a snapshot to be made.
  [[ $command == snapshot && $COMP_LINE =~ [^[:space:]]@[^[:space:]]*$ ]] &&
    return
  case $previous in
@VALUES@  esac
  if [[ $current == -* ]]; then
    case $command in
@FLAGS@    esac
    COMPREPLY=($(compgen -W "$flags @COMMON_FLAGS@" -- "$current"))
    return
  fi
  case $command in
    ""|help) COMPREPLY=($(compgen -W "@COMMANDS@" -- "$current")) ;;
    completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "$current")) ;;
    @WITH_NAME@)
      COMPREPLY=($(compgen -W "$(_ramvol_volumes)" -- "$current")) ;;
  esac
  if [[ $command == snapshot && $previous == snapshot ]]; then
    COMPREPLY=($(compgen -W "@ACTIONS@" -- "$current"))
  fi
  case $command in
    @WITH_DEVICE@)
      COMPREPLY+=($(compgen -G "$current*" | grep -x '/dev/nbd[0-9]*')) ;;
  esac
  case $command in
    @WITH_FILE@)
      compopt -o filenames
      COMPREPLY+=($(compgen -f -- "$current")) ;;
  esac
}
complete -F _ramvol ramvol
)sh";

constexpr char kZshTemplate[] = R"sh(#compdef ramvol
# zsh completion for ramvol
_ramvol_volumes() {
  # Of the server that the line names.
  local -a names line server
  local i
  line=(${(z)BUFFER})
  for ((i = 1; i <= $#line; i++)); do
    case $line[i] in
      --server=*) server=(--server=${(Q)line[i]#--server=}) ;;
      --server) server=(--server=${(Q)line[i+1]}) ;;
    esac
  done
  names=(${(f)"$(ramvol ls --output=name --timeout=1s $server 2>/dev/null
                 ramvol snapshot ls --output=name --timeout=1s $server \
                   2>/dev/null)"})
  compadd -a names
}
_ramvol() {
  local context state line
  typeset -A opt_args
  local -a commands
  commands=(
@COMMANDS@  )
  _arguments -C@COMMON_FLAGS@ \
        '1:command:->command' '*::argument:->argument' && return
  if [[ $state == command ]]; then
    _describe command commands
    return
  fi
  case $line[1] in
@CASES@  esac
}
if [[ $funcstack[1] == _ramvol ]]; then
  _ramvol "$@"
else
  compdef _ramvol ramvol
fi
)sh";

constexpr char kFishHead[] = R"sh(# fish completion for ramvol
# Of the server that the line names.
function __ramvol_volumes
    set -l words (commandline -o)
    set -l server
    for i in (seq (count $words))
        switch $words[$i]
            case '--server=*'
                set server $words[$i]
            case --server
                set server --server=$words[(math $i + 1)]
        end
    end
    ramvol ls --output=name --timeout=1s $server 2>/dev/null
    ramvol snapshot ls --output=name --timeout=1s $server 2>/dev/null
end
complete -c ramvol -f
)sh";

bool Takes(const CompletionCommand& command, const std::string& positional) {
  return absl::c_linear_search(command.positionals, positional);
}

bool TakesSeveral(const CompletionCommand& command,
                  const std::string& positional) {
  return absl::c_linear_search(command.repeated, positional);
}

// Those of volumes and snapshots that are there.
bool IsName(const std::string& positional) {
  return positional == "NAME" || positional == "SOURCE" ||
         positional == "SNAPSHOT";
}

bool TakesNames(const CompletionCommand& command) {
  return command.name != "create" &&
         absl::c_any_of(command.positionals, IsName);
}

constexpr char kActions[] = "create ls show rm";

bool TakesDevice(const CompletionCommand& command) {
  return Takes(command, "DEVICE") || command.name == "detach";
}

// Joins the names of the commands for which `chosen` holds.
template <typename Predicate>
std::string NamesWhere(const std::vector<CompletionCommand>& commands,
                       const char* separator, Predicate chosen) {
  std::vector<std::string> names;
  for (const CompletionCommand& command : commands) {
    if (!command.name.empty() && chosen(command)) names.push_back(command.name);
  }
  return absl::StrJoin(names, separator);
}

std::string AllNames(const std::vector<CompletionCommand>& commands,
                     const char* separator) {
  return NamesWhere(commands, separator,
                    [](const CompletionCommand&) { return true; });
}

std::string FlagNames(const CompletionCommand& command) {
  std::vector<std::string> names;
  for (const CompletionFlag& flag : command.flags) names.push_back(flag.name);
  return absl::StrJoin(names, " ");
}

const CompletionCommand& Common(
    const std::vector<CompletionCommand>& commands) {
  return commands.front();
}

// One `case` branch of bash for each flag that takes a value.
std::string BashValues(const std::vector<CompletionCommand>& commands) {
  std::string cases;
  std::vector<std::string> seen;
  for (const CompletionCommand& command : commands) {
    for (const CompletionFlag& flag : command.flags) {
      if (!flag.takes_value || absl::c_linear_search(seen, flag.name)) continue;
      seen.push_back(flag.name);
      const std::string names =
          flag.short_name.empty()
              ? flag.name
              : absl::StrCat(flag.short_name, "|", flag.name);
      absl::StrAppend(&cases, "    ", names, ") ",
                      flag.takes_file
                          ? "COMPREPLY=($(compgen -f -- \"$current\")); "
                            "compopt -o filenames"
                          : absl::StrCat("COMPREPLY=($(compgen -W \"",
                                         absl::StrJoin(flag.choices, " "),
                                         "\" -- \"$current\"))"),
                      "; return ;;\n");
    }
  }
  return cases;
}

std::string ZshQuote(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"'", "'\\''"}, {"[", "\\["}, {"]", "\\]"}, {":", "\\:"}});
}

std::string ZshFlag(const CompletionFlag& flag) {
  std::string value;
  if (flag.takes_file) {
    value = ":file:_files";
  } else if (!flag.choices.empty()) {
    value = absl::StrCat(":value:(", absl::StrJoin(flag.choices, " "), ")");
  } else if (flag.takes_value) {
    value = ":value: ";
  }
  std::string text;
  for (const std::string& name : {flag.name, flag.short_name}) {
    if (name.empty()) continue;
    const bool is_long = name == flag.name;
    absl::StrAppend(&text, " \\\n        '*", name,
                    flag.takes_value && is_long ? "=" : "", "[",
                    ZshQuote(flag.description), "]", value, "'");
  }
  return text;
}

std::string ZshPositionals(const CompletionCommand& command) {
  std::string text;
  for (const std::string& positional : command.positionals) {
    std::string action = " ";
    if (IsName(positional) && command.name != "create") {
      action = "_ramvol_volumes";
    } else if (positional == "FILE") {
      action = "_files";
    } else if (positional == "DEVICE") {
      action = "_files -g \"/dev/nbd<->\"";
    } else if (positional == "ACTION") {
      action = absl::StrCat("(", kActions, ")");
    } else if (positional == "SHELL") {
      action = "(bash zsh fish)";
    }
    absl::StrAppend(&text, " \\\n        '",
                    TakesSeveral(command, positional) ? "*" : "", ":",
                    positional, ":", action, "'");
  }
  return text;
}

std::string FishQuote(const std::string& text) {
  return absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"'", "\\'"}});
}

std::string FishFlag(const std::string& condition, const CompletionFlag& flag) {
  std::string line = absl::StrCat("complete -c ramvol", condition, " -l ",
                                  flag.name.substr(2));
  if (!flag.short_name.empty()) {
    absl::StrAppend(&line, " -s ", flag.short_name.substr(1));
  }
  if (flag.takes_file) {
    absl::StrAppend(&line, " -r -F");
  } else if (flag.takes_value) {
    absl::StrAppend(&line, " -x");
  }
  if (!flag.choices.empty()) {
    absl::StrAppend(&line, " -a '", absl::StrJoin(flag.choices, " "), "'");
  }
  return absl::StrCat(line, " -d '", FishQuote(flag.description), "'\n");
}

}  // namespace

std::string BashCompletion(const std::vector<CompletionCommand>& commands) {
  std::string flags;
  for (const CompletionCommand& command : commands) {
    if (command.name.empty()) continue;
    absl::StrAppend(&flags, "      ", command.name, ") flags=\"",
                    FlagNames(command), "\" ;;\n");
  }
  const std::string with_name = NamesWhere(commands, "|", TakesNames);
  const std::string with_file = NamesWhere(
      commands, "|",
      [](const CompletionCommand& command) { return Takes(command, "FILE"); });
  const std::string with_device = NamesWhere(commands, "|", TakesDevice);
  return absl::StrReplaceAll(kBashTemplate,
                             {{"@COMMAND_CASES@", AllNames(commands, "|")},
                              {"@COMMANDS@", AllNames(commands, " ")},
                              {"@VALUES@", BashValues(commands)},
                              {"@FLAGS@", flags},
                              {"@COMMON_FLAGS@", FlagNames(Common(commands))},
                              {"@WITH_NAME@", with_name},
                              {"@ACTIONS@", kActions},
                              {"@WITH_DEVICE@", with_device},
                              {"@WITH_FILE@", with_file}});
}

std::string ZshCompletion(const std::vector<CompletionCommand>& commands) {
  std::string common;
  for (const CompletionFlag& flag : Common(commands).flags) {
    absl::StrAppend(&common, ZshFlag(flag));
  }
  std::string names;
  std::string cases;
  for (const CompletionCommand& command : commands) {
    if (command.name.empty()) continue;
    absl::StrAppend(&names, "    '", command.name, ":",
                    ZshQuote(command.description), "'\n");
    absl::StrAppend(&cases, "    ", command.name, ")\n      _arguments",
                    common);
    for (const CompletionFlag& flag : command.flags) {
      // The common flags have --help, too, and zsh wants each flag once.
      if (flag.name != "--help") absl::StrAppend(&cases, ZshFlag(flag));
    }
    absl::StrAppend(&cases, ZshPositionals(command), " ;;\n");
  }
  return absl::StrReplaceAll(
      kZshTemplate,
      {{"@COMMANDS@", names}, {"@COMMON_FLAGS@", common}, {"@CASES@", cases}});
}

std::string FishCompletion(const std::vector<CompletionCommand>& commands) {
  std::string text = kFishHead;
  for (const CompletionFlag& flag : Common(commands).flags) {
    absl::StrAppend(&text, FishFlag("", flag));
  }
  for (const CompletionCommand& command : commands) {
    if (command.name.empty()) continue;
    absl::StrAppend(&text, "complete -c ramvol -n __fish_use_subcommand -a ",
                    command.name, " -d '", FishQuote(command.description),
                    "'\n");
    const std::string condition =
        absl::StrCat(" -n '__fish_seen_subcommand_from ", command.name, "'");
    for (const CompletionFlag& flag : command.flags) {
      if (flag.name != "--help") {
        absl::StrAppend(&text, FishFlag(condition, flag));
      }
    }
    if (TakesNames(command)) {
      absl::StrAppend(&text, "complete -c ramvol", condition,
                      " -a '(__ramvol_volumes)'\n");
    }
    if (TakesDevice(command)) {
      absl::StrAppend(&text, "complete -c ramvol", condition,
                      " -a '(for d in /dev/nbd*; string match -r "
                      "\"^/dev/nbd[0-9]+\" $d; end)'\n");
    }
    if (Takes(command, "FILE")) {
      absl::StrAppend(&text, "complete -c ramvol", condition, " -F\n");
    }
    if (Takes(command, "ACTION")) {
      absl::StrAppend(&text, "complete -c ramvol", condition, " -a '", kActions,
                      "'\n");
    }
    if (Takes(command, "SHELL")) {
      absl::StrAppend(&text, "complete -c ramvol", condition,
                      " -a 'bash zsh fish'\n");
    }
  }
  return text;
}

}  // namespace ramvol::cli
