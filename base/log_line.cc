#include "base/log_line.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/json.h"
#include "base/printable.h"

namespace ramvol {
namespace {

constexpr std::array<std::string_view, 3> kLevelNames = {"info", "warning",
                                                         "error"};

absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }

std::string_view NameOf(LogLevel level) {
  return kLevelNames[static_cast<size_t>(level)];
}

// Calls `add` with the name and the text of each field that is not empty.
template <typename Add>
void ForEachField(const LogFields& fields, const Add& add) {
  if (!fields.volume.empty()) add("volume", fields.volume);
  if (!fields.old_volume.empty()) add("old_volume", fields.old_volume);
  if (!fields.client.empty()) add("client", fields.client);
  if (!fields.over.empty()) add("over", fields.over);
  if (!fields.reason.empty()) add("reason", fields.reason);
}

std::string FormatText(const std::string& time, std::string_view program,
                       Event event, const LogFields& fields) {
  std::string line = absl::StrCat(time, " ", ToAbsl(program), ": ",
                                  ToAbsl(NameOf(TraitsOf(event).level)), " ",
                                  ToAbsl(TraitsOf(event).name));
  ForEachField(fields, [&](absl::string_view name, std::string_view text) {
    absl::StrAppend(&line, " ", name, "=", Quoted(text));
  });
  if (fields.count != 0) absl::StrAppend(&line, " count=", fields.count);
  if (!fields.message.empty()) {
    absl::StrAppend(&line, ": ", Printable(fields.message));
  }
  return line + "\n";
}

std::string FormatJson(const std::string& time, std::string_view program,
                       Event event, const LogFields& fields) {
  JsonWriter json;
  json.BeginObject();
  const auto add = [&](std::string_view name, std::string_view text) {
    json.Key(name).String(text);
  };
  add("time", time);
  add("program", program);
  add("level", NameOf(TraitsOf(event).level));
  add("event", TraitsOf(event).name);
  ForEachField(fields, add);
  if (fields.count != 0) json.Key("count").Number(fields.count);
  if (!fields.message.empty()) add("message", fields.message);
  json.EndObject();
  return json.Take() + "\n";
}

}  // namespace

std::string FormatLogLine(LogFormat format, absl::Time time,
                          std::string_view program, Event event,
                          const LogFields& fields) {
  const std::string stamp =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
  return format == LogFormat::kJson ? FormatJson(stamp, program, event, fields)
                                    : FormatText(stamp, program, event, fields);
}

absl::StatusOr<LogFormat> ParseLogFormat(std::string_view text) {
  if (text == "text") return LogFormat::kText;
  if (text == "json") return LogFormat::kJson;
  return absl::InvalidArgumentError(absl::StrCat(
      "--log_format is \"", ToAbsl(text), "\"; give text or json"));
}

absl::StatusOr<LogLevel> ParseLogLevel(std::string_view text) {
  for (const LogLevel level :
       {LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    if (text == NameOf(level)) return level;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--log_level is \"", ToAbsl(text), "\"; give info, warning or error"));
}

}  // namespace ramvol
