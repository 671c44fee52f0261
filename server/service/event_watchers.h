// The streams of VolumeService.WatchEvents.
#ifndef RAMVOL_SERVER_SERVICE_EVENT_WATCHERS_H_
#define RAMVOL_SERVER_SERVICE_EVENT_WATCHERS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/client_memory.h"
#include "base/fair_share.h"
#include "base/mutex.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "ramvol/v1/volume_service.pb.h"
#include "server/service/call_access.h"
#include "server/service/call_gate.h"
#include "server/service/event_feed.h"

namespace ramvol::service {

// Sends each watcher the events of a feed at the pace at which it reads: one
// message at a time, of at most kMaxBatchBytes, so a watcher costs no more than
// ClientMemory::Stream. One thread tells those who wait of new events.
//
// Thread-safe.
class EventWatchers {
 public:
  static constexpr size_t kMaxWatchers = 256;
  static constexpr size_t kMaxBatchBytes = size_t{4} << 10;

  using Reactor = grpc::ServerWriteReactor<grpc::ByteBuffer>;

  // Borrows the first two, which must outlive this; stops `feed` at its end, by
  // when the streams must be gone.
  EventWatchers(EventFeed* feed, CallGate* gate,
                std::shared_ptr<ClientMemory> memory);
  ~EventWatchers();

  EventWatchers(const EventWatchers&) = delete;
  EventWatchers& operator=(const EventWatchers&) = delete;

  // Answers a call, whose request lives until it has ended. Sends what one may
  // see.
  Reactor* Watch(grpc::CallbackServerContext* context,
                 const grpc::ByteBuffer* request, const CallAccess& access);

  // Ends all streams with UNAVAILABLE when they have sent what there is. Call
  // it after the gate is closed, which tells when they are gone.
  void Drain() ABSL_LOCKS_EXCLUDED(mu_);
  size_t size() const { return share_.held(); }

 private:
  class Stream;
  // Peer and connection, for share_.
  using Path = std::array<std::string, 2>;

  // Where `request` begins.
  absl::StatusOr<uint64_t> Begin(const v1::WatchEventsRequest& request) const;
  std::vector<std::shared_ptr<Stream>> All() ABSL_LOCKS_EXCLUDED(mu_);
  // Takes out a stream that is done.
  void Remove(Stream* stream) ABSL_LOCKS_EXCLUDED(mu_);
  void Run();

  EventFeed& feed_;
  CallGate& gate_;
  const std::shared_ptr<ClientMemory> memory_;
  FairShare share_{kMaxWatchers};
  Mutex mu_;
  absl::flat_hash_map<Stream*, std::shared_ptr<Stream>> streams_
      ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_EVENT_WATCHERS_H_
