#include "client/cli/commands/volume_selection.h"

#include <fnmatch.h>

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/reason.h"
#include "client/cli/errors.h"

namespace ramvol::cli {
namespace {

bool IsPattern(const std::string& name) {
  return name.find_first_of("*?[") != std::string::npos;
}

// One condition of a selector.
struct Condition {
  std::string key;
  std::string value;
  bool any_value = false;
  bool negated = false;

  bool Holds(const v1::Volume& volume) const {
    const auto found = volume.labels().find(key);
    const bool holds =
        found != volume.labels().end() && (any_value || found->second == value);
    return holds != negated;
  }
};

absl::StatusOr<Condition> ParseCondition(absl::string_view text) {
  Condition condition;
  absl::string_view rest = absl::StripAsciiWhitespace(text);
  const size_t equals = rest.find('=');
  if (equals == absl::string_view::npos) {
    condition.any_value = true;
    condition.negated = absl::ConsumePrefix(&rest, "!");
    condition.key = std::string(rest);
  } else {
    absl::string_view key = rest.substr(0, equals);
    condition.negated = absl::ConsumeSuffix(&key, "!");
    condition.key = std::string(absl::StripAsciiWhitespace(key));
    rest.remove_prefix(equals + 1);
    absl::ConsumePrefix(&rest, "=");  // "==" means the same.
    condition.value = std::string(absl::StripAsciiWhitespace(rest));
  }
  if (!condition.key.empty()) return condition;
  return UsageError(absl::StrCat(
      "--selector: \"", text,
      "\" is no condition; write KEY=VALUE, KEY!=VALUE, KEY or !KEY"));
}

absl::StatusOr<std::vector<Condition>> ParseSelector(const std::string& text) {
  std::vector<Condition> conditions;
  if (text.empty()) return conditions;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    absl::StatusOr<Condition> condition = ParseCondition(part);
    if (!condition.ok()) return condition.status();
    conditions.push_back(*std::move(condition));
  }
  return conditions;
}

absl::Status NoneFits(const std::string& pattern) {
  return WithReason(absl::NotFoundError(absl::StrCat(
                        "no volume fits \"", pattern,
                        "\"; \"ramvol ls\" lists those that there are")),
                    reason::kVolumeNotFound);
}

using ByName = std::map<std::string, v1::Volume>;

absl::StatusOr<ByName> ListAll(const Client& client) {
  absl::StatusOr<std::vector<v1::Volume>> volumes = client.ListVolumes();
  if (!volumes.ok()) return volumes.status();
  ByName by_name;
  for (v1::Volume& volume : *volumes) {
    std::string name = volume.name();
    by_name.emplace(std::move(name), std::move(volume));
  }
  return by_name;
}

// Adds the volumes of `all` that fit the pattern.
absl::Status AddFitting(const std::string& pattern, const ByName& all,
                        ByName* chosen) {
  bool found = false;
  for (const auto& [name, volume] : all) {
    if (fnmatch(pattern.c_str(), name.c_str(), 0) != 0) continue;
    chosen->emplace(name, volume);
    found = true;
  }
  return found ? absl::OkStatus() : NoneFits(pattern);
}

// The volumes of these names and patterns. All volumes when `names` is empty.
absl::StatusOr<ByName> Named(const Client& client,
                             const std::vector<std::string>& names) {
  ByName all;
  if (names.empty() || absl::c_any_of(names, IsPattern)) {
    absl::StatusOr<ByName> listed = ListAll(client);
    if (!listed.ok() || names.empty()) return listed;
    all = *std::move(listed);
  }
  ByName chosen;
  for (const std::string& name : names) {
    if (IsPattern(name)) {
      absl::Status added = AddFitting(name, all, &chosen);
      if (!added.ok()) return added;
      continue;
    }
    absl::StatusOr<v1::Volume> volume = client.GetVolume(name);
    if (!volume.ok()) return volume.status();
    chosen.emplace(name, *std::move(volume));
  }
  return chosen;
}

}  // namespace

bool VolumeFilter::FitsName(const std::string& name) const {
  return names.empty() || absl::c_any_of(names, [&name](const auto& pattern) {
           return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
         });
}

absl::StatusOr<VolumeFilter> MakeFilter(const VolumeSelection& selection) {
  absl::StatusOr<std::vector<Condition>> conditions =
      ParseSelector(selection.selector);
  if (!conditions.ok()) return conditions.status();
  VolumeFilter filter{.names = selection.names, .fits_labels = nullptr};
  if (conditions->empty()) return filter;
  filter.fits_labels = [conditions = *conditions](const v1::Volume& volume) {
    return absl::c_all_of(
        conditions, [&volume](const Condition& c) { return c.Holds(volume); });
  };
  return filter;
}

bool VolumeSelection::by_rule() const {
  return !selector.empty() || absl::c_any_of(names, IsPattern);
}

void AddSelection(CLI::App* command, VolumeSelection* selection) {
  command
      ->add_option("NAME", selection->names,
                   "The volumes: names, or patterns such as 'ci-*'")
      ->type_name("");
  command
      ->add_option("--selector", selection->selector,
                   "Only those with these labels: KEY=VALUE, KEY!=VALUE, KEY "
                   "or !KEY, with commas between them")
      ->type_name("LABELS");
}

absl::StatusOr<std::vector<v1::Volume>> SelectVolumes(
    const Client& client, const VolumeSelection& selection) {
  absl::StatusOr<std::vector<Condition>> conditions =
      ParseSelector(selection.selector);
  if (!conditions.ok()) return conditions.status();
  absl::StatusOr<ByName> named = Named(client, selection.names);
  if (!named.ok()) return named.status();
  std::vector<v1::Volume> volumes;
  for (auto& [name, volume] : *named) {
    const bool fits = absl::c_all_of(
        *conditions,
        [&volume = volume](const Condition& c) { return c.Holds(volume); });
    if (fits) volumes.push_back(std::move(volume));
  }
  return volumes;
}

}  // namespace ramvol::cli
