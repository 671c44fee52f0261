// The calls of Save and Restore that are under way.
#ifndef RAMVOL_SERVER_SERVICE_IMAGE_STREAMS_H_
#define RAMVOL_SERVER_SERVICE_IMAGE_STREAMS_H_

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "base/client_memory.h"
#include "base/fair_share.h"
#include "base/mutex.h"
#include "grpcpp/server_context.h"
#include "server/engine/engine.h"
#include "server/service/call_access.h"
#include "server/service/call_gate.h"
#include "server/service/catalog.h"
#include "server/service/executor.h"

namespace ramvol::service {

// What the streams work with. All must outlive them.
struct ImageParts {
  engine::Engine* engine = nullptr;
  Catalog* catalog = nullptr;
  Executor* executor = nullptr;
  CallGate* gate = nullptr;
  const CallAccess* access = nullptr;
  std::shared_ptr<ClientMemory> memory;
};

// One of them.
class ImageStream {
 public:
  virtual ~ImageStream() = default;
  // Ends it soon, with UNAVAILABLE.
  virtual void Drain() = 0;
};

// Bounds their number, and keeps them until they are done. Thread-safe.
class ImageStreams {
 public:
  // Each has memory, and a snapshot or a volume that nobody sees.
  static constexpr size_t kMaxImageStreams = 64;

  explicit ImageStreams(ImageParts parts) : parts_(std::move(parts)) {}

  const ImageParts& parts() const { return parts_; }

  // Takes a place for the caller: UNAVAILABLE when the server shuts down, or
  // RESOURCE_EXHAUSTED, reason TOO_MANY_STREAMS. Else Remove gives it back.
  absl::Status Enter(const grpc::CallbackServerContext& context);
  // Keeps a stream that has entered.
  void Add(std::shared_ptr<ImageStream> stream) ABSL_LOCKS_EXCLUDED(mu_);
  // It is done. `peer` is the context's.
  void Remove(ImageStream* stream, const std::string& peer)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Ends all. Call it after the gate is closed, which tells when they are gone.
  void Drain() ABSL_LOCKS_EXCLUDED(mu_);
  size_t size() const { return share_.held(); }

 private:
  const ImageParts parts_;
  FairShare share_{kMaxImageStreams};
  Mutex mu_;
  absl::flat_hash_map<ImageStream*, std::shared_ptr<ImageStream>> streams_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_IMAGE_STREAMS_H_
