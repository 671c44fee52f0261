// The parts of Server for the status page and metrics.
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "server/server.h"

namespace ramvol::server {

status::ServerState Server::GetState() {
  status::ServerState state;
  state.why_not_ready = WhyNotReady();
  state.io_streams = block_service_.io_streams();
  state.nbd_connections = nbd_stats_.Get().connections;
  state.vhost_user_connections = vhost_stats_.Get().connections;
  const std::array<std::pair<const char*, const DoorStats*>, 3> doors = {
      {{"grpc", grpc_door_.get()},
       {"nbd", &nbd_stats_.door()},
       {"http", &http_door_}}};
  for (const auto& [protocol, stats] : doors) {
    for (size_t why = 0; why < kTurnedAwayNames.size(); ++why) {
      const uint64_t count = stats->Get(static_cast<TurnedAway>(why));
      if (count == 0) continue;
      state.turned_away.push_back({protocol, kTurnedAwayNames[why], count});
    }
  }
  // Until the server serves, Start still writes the members below.
  if (busy_.load(std::memory_order_acquire) != nullptr) return state;
  state.grpc_connections = acceptor_->connections();
  state.grpc_addresses = grpc_addresses_;
  state.nbd_addresses = nbd_addresses();
  return state;
}

status::Labels Server::LabelsOf(const std::string& volume) const {
  const auto found = catalog_.Get(volume);
  if (!found.ok()) return {};
  return {found->labels().begin(), found->labels().end()};
}

std::optional<metrics::SnapshotInfo> Server::InfoOf(
    const std::string& snapshot) {
  const auto found = catalog_.snapshots().GetAsVolume(snapshot);
  if (!found.ok()) return std::nullopt;
  return metrics::SnapshotInfo{
      found->source(),
      static_cast<uint64_t>(found->create_time().seconds()),
      {found->labels().begin(), found->labels().end()}};
}

}  // namespace ramvol::server
