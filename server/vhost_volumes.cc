#include "server/vhost_volumes.h"

namespace ramvol::server {

VhostVolumes::VhostVolumes(vhost::VhostServer* server) : server_(*server) {
  EventLog::OfProcess().AddObserver(this);
}

VhostVolumes::~VhostVolumes() { EventLog::OfProcess().RemoveObserver(this); }

void VhostVolumes::OnEvent(Event event, const LogFields& fields) {
  switch (event) {
    case Event::kVolumeCreated:
    case Event::kSnapshotCreated:
      return server_.Added(fields.volume);
    case Event::kVolumeDeleted:
    case Event::kSnapshotDeleted:
      return server_.Removed(fields.volume);
    case Event::kVolumeRenamed:
      return server_.Renamed(fields.old_volume, fields.volume);
    case Event::kVolumeChanged:
    case Event::kVolumeReverted:
      return server_.Changed(fields.volume);
    default:
      return;
  }
}

}  // namespace ramvol::server
