// Tells a vhost-user server what volumes there are.
#ifndef RAMVOL_SERVER_VHOST_VOLUMES_H_
#define RAMVOL_SERVER_VHOST_VOLUMES_H_

#include "base/event_log.h"
#include "vhost_user/vhost_server.h"

namespace ramvol::server {

// Hears from the log's events of volumes and snapshots that come, go and
// change. So each has its socket before the call that made it returns.
class VhostVolumes final : public EventObserver {
 public:
  // Borrows `server` until destruction.
  explicit VhostVolumes(vhost::VhostServer* server);
  ~VhostVolumes();

  VhostVolumes(const VhostVolumes&) = delete;
  VhostVolumes& operator=(const VhostVolumes&) = delete;

  void OnEvent(Event event, const LogFields& fields) override;

 private:
  vhost::VhostServer& server_;
};

}  // namespace ramvol::server

#endif  // RAMVOL_SERVER_VHOST_VOLUMES_H_
