// A connected front-end.
#ifndef RAMVOL_VHOST_USER_CONNECTION_H_
#define RAMVOL_VHOST_USER_CONNECTION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/block/exports.h"
#include "base/block/thread_cache.h"
#include "base/client_memory.h"
#include "base/mutex.h"
#include "vhost_user/protocol/descriptor.h"
#include "vhost_user/session.h"
#include "vhost_user/stats.h"

namespace ramvol::vhost {

// One thread calls Serve; all else is thread-safe.
class Connection final : public ClientMemory::Client,
                         public std::enable_shared_from_this<Connection> {
 public:
  // Of the volume `name`. Owns `socket`, a blocking one.
  Connection(Descriptor socket, std::string name, ClientMemory* memory);

  // Opens the volume and serves it until either side ends the connection. Logs
  // why it was refused or ended. Borrows all for the call.
  void Serve(block::Exports& exports, block::ThreadCache& threads,
             VhostStats& stats);
  // Of the client; see PeerAddress.
  const std::string& address() const { return address_; }

  // Makes Serve return soon.
  void End();
  // See Device; after End.
  void Unblock() ABSL_LOCKS_EXCLUDED(mu_);
  // See Session::SetSize.
  void SetSize(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mu_);

  // Closes `socket`, which is one too many.
  static void Refuse(Descriptor socket, const std::string& name,
                     const absl::Status& why);

  std::function<void()> SendAway() override;

 private:
  // What this client may see of them; null: all.
  std::unique_ptr<block::Exports> OwnOf(block::Exports& exports);
  void Converse(Session& session);
  void LogEnd(const absl::Status& why);

  const Descriptor socket_;
  const std::string name_;
  const std::string address_;
  ClientMemory::Holder holder_;

  Mutex mu_;
  Session* session_ ABSL_GUARDED_BY(mu_) = nullptr;
};

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_CONNECTION_H_
