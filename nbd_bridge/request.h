// One request of a client, from its arrival until its reply has been sent.
#ifndef RAMVOL_NBD_BRIDGE_REQUEST_H_
#define RAMVOL_NBD_BRIDGE_REQUEST_H_

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/block/block_device.h"
#include "nbd_bridge/protocol/transmission.h"

namespace ramvol::nbd {

// A receive buffer for requests and small payloads. The reader owns it, and
// reuses it when no request's payload points into it.
struct Slab {
  explicit Slab(size_t its_size) : size(its_size), bytes(new char[its_size]) {}
  const size_t size;
  const std::unique_ptr<char[]> bytes;  // Not initialised.
  std::atomic<uint32_t> users = 0;
};

// Most extents in one answer.
inline constexpr size_t kMaxStatusExtents = 4096;
// The most extents that a block status request asks for.
inline size_t MaxExtents(const RequestHeader& header) {
  return (header.flags & kCmdReqOne) != 0 ? 1 : kMaxStatusExtents;
}

// A metadata context that a client selected.
struct MetaContext {
  uint32_t id = 0;
  // The context is what has changed since this one; empty for what is a hole.
  std::string snapshot = {};
  std::string snapshot_uid = {};
};

// What a block status found in one context.
struct ContextExtents {
  const MetaContext* context = nullptr;
  std::vector<block::Extent> extents;
};

struct Request;

// Where requests come from.
class RequestOwner {
 public:
  // The device's size now.
  virtual uint64_t size_bytes() const = 0;
  // A request has been carried out.
  virtual void Finish(Request* request, const absl::Status& status) = 0;

 protected:
  ~RequestOwner() = default;
};

struct Request final : public block::Completion {
  explicit Request(RequestOwner* session) : owner(session) {}
  ~Request() override { ReleasePayload(); }

  void Done(absl::Status status) override { owner->Finish(this, status); }

  // `payload` must not be used after this.
  void ReleasePayload() {
    payload = {};
    if (slab == nullptr) return;
    // Release: the reader's acquire in IsFree orders its writes after our
    // reads.
    slab->users.fetch_sub(1, std::memory_order_release);
    slab = nullptr;
  }

  Command command() const { return static_cast<Command>(header.command); }
  absl::Span<char> buffer_span() {
    return absl::MakeSpan(buffer.get(), header.length);
  }

  RequestOwner* const owner;
  RequestHeader header;
  int64_t arrived_ns = 0;
  int64_t began_ns = 0;  // When it began to be carried out.
  // Charged against the connection's bound until the request is deleted.
  size_t charged_bytes = 0;

  // Set if the request is refused without being carried out.
  Error error = Error::kNone;
  std::string message;

  // A write's data, in `slab` or `buffer`.
  absl::Span<const char> payload;
  Slab* slab = nullptr;
  // header.length bytes, not initialised: a write's payload or a read's data.
  std::unique_ptr<char[]> buffer;
  // The read found only holes; there is no buffer.
  bool all_hole = false;
  // The result of a block status, one for each context.
  std::vector<ContextExtents> statuses;

  // The reply's bytes. All point into this request.
  absl::InlinedVector<iovec, 2> parts;
  char head[kMaxReplyHeaderBytes + sizeof(uint64_t) + sizeof(uint32_t)];
  std::string text;  // Headers that do not fit in `head`.
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_REQUEST_H_
