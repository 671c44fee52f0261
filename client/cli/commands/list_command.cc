#include "client/cli/commands/list_command.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/volume_selection.h"
#include "client/cli/invocation.h"
#include "client/cli/output/message_text.h"
#include "client/client.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

struct ListArguments {
  VolumeSelection selection;
  bool measured = false;
  bool quiet = false;
  std::string order = "name";
};

struct Listed {
  v1::Volume volume;
  v1::VolumeStats stats;  // Empty unless they were asked for.
};

// What the volumes are sorted by. The largest comes first.
double SortValue(const std::string& order, const Listed& listed) {
  if (order == "size") return static_cast<double>(listed.volume.size_bytes());
  if (order == "created") {
    return static_cast<double>(listed.volume.create_time().seconds());
  }
  if (order == "memory") {
    return static_cast<double>(listed.stats.memory_bytes());
  }
  if (order == "data") return static_cast<double>(listed.stats.logical_bytes());
  if (order == "ratio") return listed.stats.ratio();
  return 0;
}

bool NeedsStats(const std::string& order) {
  return order == "memory" || order == "data" || order == "ratio";
}

// Leaves out volumes that were deleted after they were listed.
absl::StatusOr<std::vector<Listed>> Measure(const Client& client,
                                            std::vector<v1::Volume> volumes,
                                            bool measured) {
  std::vector<Listed> all;
  all.reserve(volumes.size());
  for (v1::Volume& volume : volumes) {
    Listed listed;
    if (measured) {
      absl::StatusOr<v1::VolumeStats> stats = client.StatVolume(volume.name());
      if (absl::IsNotFound(stats.status())) continue;
      if (!stats.ok()) return stats.status();
      listed.stats = *std::move(stats);
    }
    listed.volume = std::move(volume);
    all.push_back(std::move(listed));
  }
  return all;
}

absl::Status PrintNames(const Invocation& invocation,
                        const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    absl::StrAppend(&text, Printable(name), "\n");
  }
  return invocation.Print(text);
}

absl::Status Print(const Invocation& invocation, const std::vector<Listed>& all,
                   bool with_stats, bool quiet) {
  output::v1::ListOutput message;
  std::vector<v1::Volume> volumes;
  std::vector<v1::VolumeStats> stats;
  std::vector<std::string> names;
  for (const Listed& listed : all) {
    *message.add_volumes() = listed.volume;
    volumes.push_back(listed.volume);
    names.push_back(listed.volume.name());
    if (!with_stats) continue;
    (*message.mutable_stats())[listed.volume.name()] = listed.stats;
    stats.push_back(listed.stats);
  }
  if (quiet) return PrintNames(invocation, names);
  std::optional<absl::Time> now;
  if (invocation.wide()) now = invocation.context().now();
  return invocation.PrintVolumes(message, VolumesText(volumes, stats, now),
                                 names);
}

absl::Status List(const Invocation& invocation,
                  const ListArguments& arguments) {
  const Client client = invocation.ControlClient();
  absl::StatusOr<std::vector<v1::Volume>> volumes =
      SelectVolumes(client, arguments.selection);
  if (!volumes.ok()) return volumes.status();
  const bool with_stats = arguments.measured || invocation.wide();
  absl::StatusOr<std::vector<Listed>> all = Measure(
      client, *std::move(volumes), with_stats || NeedsStats(arguments.order));
  if (!all.ok()) return all.status();
  // Volumes with equal values stay in the order of their names.
  std::sort(all->begin(), all->end(),
            [&arguments](const Listed& a, const Listed& b) {
              const auto a_value = SortValue(arguments.order, a);
              const auto b_value = SortValue(arguments.order, b);
              if (a_value != b_value) return a_value > b_value;
              return a.volume.name() < b.volume.name();
            });
  return Print(invocation, *all, with_stats, arguments.quiet);
}

}  // namespace

void AddListCommand(CommandSet& commands) {
  auto arguments = std::make_shared<ListArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "ls", "List the volumes",
      [&invocation, arguments] { return List(invocation, *arguments); });
  command->alias("list");
  AddSelection(command, &arguments->selection);
  command->add_flag("-l,--long", arguments->measured,
                    "Also show what each holds");
  command->add_flag("-q,--quiet", arguments->quiet,
                    "Only the names, one a line");
  Restrict(command->add_option("--sort", arguments->order,
                               "The order, all but names the most first"),
           {"name", "size", "data", "memory", "ratio", "created"});
}

}  // namespace ramvol::cli
