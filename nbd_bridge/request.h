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
#include "nbd_bridge/block_device.h"
#include "nbd_bridge/protocol/transmission.h"

namespace ramvol::nbd {

// Where requests arrive, small payloads with them. The reader owns it and
// reuses it when no request has its payload in it any more.
struct Slab {
  explicit Slab(size_t its_size) : size(its_size), bytes(new char[its_size]) {}
  const size_t size;
  const std::unique_ptr<char[]> bytes;  // Not initialised.
  std::atomic<uint32_t> users = 0;
};

// Most extents in one answer.
inline constexpr size_t kMaxStatusExtents = 4096;
// What a block status may ask the device for.
inline size_t MaxExtents(const RequestHeader& header) {
  return (header.flags & kCmdReqOne) != 0 ? 1 : kMaxStatusExtents;
}

struct Request;

// Who is told that a request has been carried out.
class RequestOwner {
 public:
  virtual void Finish(Request* request, const absl::Status& status) = 0;

 protected:
  ~RequestOwner() = default;
};

struct Request final : public Completion {
  explicit Request(RequestOwner* session) : owner(session) {}
  ~Request() override { ReleasePayload(); }

  void Done(absl::Status status) override { owner->Finish(this, status); }

  // After this, nobody looks at `payload`.
  void ReleasePayload() {
    payload = {};
    if (slab == nullptr) return;
    // The reader overwrites the slab only after it has seen this.
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
  int64_t began_ns = 0;  // To be carried out.
  // What it counts against the connection's bound, until it is deleted.
  size_t charged_bytes = 0;

  // Why it is refused without being carried out, or kNone.
  Error error = Error::kNone;
  std::string message;

  // A write's data: in `slab` or `buffer`.
  absl::Span<const char> payload;
  Slab* slab = nullptr;
  // header.length bytes, not initialised. Also what a read fills.
  std::unique_ptr<char[]> buffer;
  // Of a read that found nothing: there is no buffer.
  bool all_hole = false;
  std::vector<Extent> extents;  // Of a block status.

  // The reply's bytes are those that `parts` names, in this request.
  absl::InlinedVector<iovec, 2> parts;
  char head[kMaxReplyHeaderBytes + sizeof(uint64_t) + sizeof(uint32_t)];
  std::string text;  // Whatever does not fit in `head`.
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_REQUEST_H_
