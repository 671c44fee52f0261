#include "client/cli/commands/events_command.h"

#include <atomic>
#include <cstdint>
#include <map>
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
#include "base/file_error.h"
#include "base/ticker.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/volume_selection.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/cli/output/event_text.h"
#include "client/cli/output/json.h"
#include "client/client.h"
#include "client/event_watch.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

constexpr char kHelp[] =
    R"(The server keeps the last 4096 events since it started. With --follow the
command goes on until it is interrupted or the server stops. If events come
faster than they are read, or are gone, it fails with EVENTS_LOST.

--selector goes by the labels that a volume has now, or had when it was last
seen.

)";

constexpr absl::Duration kLookInterval = absl::Milliseconds(100);

struct EventsArguments {
  VolumeSelection selection;
  std::string since;
  bool follow = false;
};

absl::StatusOr<v1::WatchEventsRequest> MakeRequest(
    const EventsArguments& arguments, absl::Time now) {
  v1::WatchEventsRequest request;
  request.set_follow(arguments.follow);
  if (arguments.since.empty()) return request;
  request.set_only_new(arguments.since == "now");
  if (request.only_new()) return request;
  absl::Time since;
  std::string ignored;
  if (const auto ago = ParseTime(arguments.since)) {
    since = now - *ago;
  } else if (!absl::ParseTime(absl::RFC3339_full, arguments.since, &since,
                              &ignored)) {
    return UsageError(absl::StrCat(
        "--since: \"", arguments.since,
        "\" is not a time such as 10m, 2026-11-29T03:12:50Z or now"));
  }
  const int64_t seconds = absl::ToUnixSeconds(since);
  request.mutable_since()->set_seconds(seconds);
  request.mutable_since()->set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(since - absl::FromUnixSeconds(seconds))));
  return request;
}

// Which events are wanted.
class EventFilter {
 public:
  EventFilter(Client client, VolumeFilter filter)
      : client_(std::move(client)), filter_(std::move(filter)) {}

  // Call it once the stream is open.
  absl::Status Prepare() {
    if (filter_.fits_labels == nullptr) return absl::OkStatus();
    const auto volumes = client_.ListVolumes();
    if (!volumes.ok()) return volumes.status();
    for (const v1::Volume& volume : *volumes) Learn(volume);
    return absl::OkStatus();
  }

  bool Fits(const v1::Event& event) {
    const bool named =
        filter_.FitsName(event.volume()) ||
        (!event.old_volume().empty() && filter_.FitsName(event.old_volume()));
    return named && FitsLabels(event);
  }

 private:
  void Learn(const v1::Volume& volume) {
    fits_[volume.uid()] = filter_.fits_labels(volume);
  }

  bool FitsLabels(const v1::Event& event) {
    if (filter_.fits_labels == nullptr) return true;
    const bool known = fits_.count(event.uid()) > 0;
    if (!event.volume().empty() &&
        (!known || event.type() == "volume_changed")) {
      const auto volume = client_.GetVolume(event.volume());
      if (volume.ok() && volume->uid() == event.uid()) Learn(*volume);
    }
    const auto found = fits_.find(event.uid());
    const bool fits = found != fits_.end() && found->second;
    if (event.type() == "volume_deleted") fits_.erase(event.uid());
    return fits;
  }

  const Client client_;
  const VolumeFilter filter_;
  std::map<std::string, bool> fits_;  // By uid.
};

absl::Status Print(const Invocation& invocation, const v1::Event& event) {
  switch (invocation.flags().output) {
    case OutputFormat::kJson:
      return invocation.Print(ToJsonLine(event));
    case OutputFormat::kYaml:
      return invocation.Print(absl::StrCat("---\n", ToYaml(event)));
    default:
      return invocation.Print(EventText(event));
  }
}

absl::Status PrintAll(const Invocation& invocation, EventWatch& watch,
                      EventFilter& filter) {
  for (bool first = true;; first = false) {
    const auto message = watch.Next();
    if (!message.ok()) return message.status();
    if (!message->has_value()) return absl::OkStatus();
    absl::Status status = first ? filter.Prepare() : absl::OkStatus();
    for (const v1::Event& event : (*message)->events()) {
      if (status.ok() && filter.Fits(event)) status = Print(invocation, event);
    }
    if (!status.ok()) return status;
  }
}

absl::Status Events(const Invocation& invocation,
                    const EventsArguments& arguments) {
  if (invocation.names()) return NoNames();
  const auto request = MakeRequest(arguments, invocation.context().now());
  if (!request.ok()) return request.status();
  auto chosen = MakeFilter(arguments.selection);
  if (!chosen.ok()) return chosen.status();
  const Client client = invocation.ControlClient();
  const auto watch = client.WatchEvents(*request);
  if (!watch.ok()) return watch.status();
  const std::atomic<bool>& interrupted = *invocation.context().interrupted;
  const Ticker ticker(kLookInterval, [&] {
    if (interrupted.load()) (*watch)->Cancel();
  });
  EventFilter filter(client, *std::move(chosen));
  const absl::Status status = PrintAll(invocation, **watch, filter);
  return interrupted.load() ? InterruptedError() : status;
}

}  // namespace

void AddEventsCommand(CommandSet& commands) {
  auto arguments = std::make_shared<EventsArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "events", "Show what happened to volumes: made, attached, full, gone",
      [&invocation, arguments] { return Events(invocation, *arguments); });
  AddSelection(command, &arguments->selection);
  command->add_flag("--follow", arguments->follow,
                    "Also show what happens from now on");
  command
      ->add_option("--since", arguments->since,
                   "Only the events since then: 10m (ago), "
                   "2026-11-29T03:12:50Z, or now")
      ->type_name("TIME");
  command->footer(std::string(kHelp) + kCommonHelp);
}

}  // namespace ramvol::cli
