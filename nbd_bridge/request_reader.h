// Reads requests from a socket.
#ifndef RAMVOL_NBD_BRIDGE_REQUEST_READER_H_
#define RAMVOL_NBD_BRIDGE_REQUEST_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "nbd_bridge/request.h"
#include "nbd_bridge/socket.h"
#include "nbd_bridge/validation.h"

namespace ramvol::nbd {

// Each receive takes as many requests as have arrived. A payload that arrived
// whole stays in the receive buffer (slab). The rest of any other is received
// straight into a buffer of its own.
//
// Not thread-safe. Must outlive its requests.
class RequestReader {
 public:
  // The sizes of wide and narrow slabs.
  static constexpr size_t kWideSlabBytes = size_t{256} << 10;
  static constexpr size_t kNarrowSlabBytes = size_t{16} << 10;
  // With this many slabs, payloads are copied out instead of holding more.
  static constexpr size_t kMaxSlabs = 32;
  // The charge of each request beside its data.
  static constexpr size_t kRequestBytes = 512;
  // The charge of each extent that a block status may find: the extent, and its
  // descriptor in the reply.
  static constexpr size_t kExtentBytes = sizeof(block::Extent) + 16;

  RequestReader(Socket& socket, const SessionTraits& traits,
                RequestOwner* owner);

  enum class Received {
    kBytes,
    kNothing,  // Nothing came for the socket's idle time.
    kEnd,      // The stream has ended.
  };
  Received Receive();

  enum class Parsed {
    kNeedsBytes,  // Receive, and try again.
    kNeedsRoom,   // The next request needs needed_bytes() of room.
    kEnd,         // The client disconnects, or broke the protocol.
  };
  // Appends arrived requests while their charges fit in `room_bytes` together.
  Parsed Parse(size_t room_bytes, std::vector<std::unique_ptr<Request>>* out);

  // After Parse returned kEnd: how the client broke the protocol, or "" when it
  // disconnected.
  std::string_view violation() const { return violation_; }
  // 0 unless the last Parse returned kNeedsRoom.
  size_t needed_bytes() const { return needed_bytes_; }

  // Whether a payload has arrived only in part.
  bool in_payload() const {
    return partial_ != nullptr || skipping_ != nullptr;
  }
  // The charge of a request whose payload has arrived only in part, so that
  // Parse has not appended it, and of all slabs but one.
  size_t held_bytes() const;

  // Whether a wide slab would have saved calls of Receive.
  bool IsTight() const { return tight_; }
  void SetWide(bool wide) {
    slab_bytes_ = wide ? kWideSlabBytes : kNarrowSlabBytes;
  }
  // Frees all unused slabs but the current one, so that a burst's memory does
  // not stay for good.
  void ForgetFreeSlabs();

 private:
  size_t unparsed() const { return end_ - begin_; }
  char* front() const { return slab_->bytes.get() + begin_; }
  // Makes room behind end_ for at least a request's header.
  void PrepareSlab();
  Received ReceivePayload();
  // A slab without users, possibly the current one.
  Slab* FindFreeSlab();
  size_t Charge(const RequestHeader& header) const;
  // Takes the part of the request's payload that has arrived.
  void TakePayload(std::unique_ptr<Request> request,
                   std::vector<std::unique_ptr<Request>>* out);
  void SkipPayload(std::unique_ptr<Request> request,
                   std::vector<std::unique_ptr<Request>>* out);

  Socket& socket_;
  SessionTraits traits_;
  RequestOwner* const owner_;

  size_t slab_bytes_ = kNarrowSlabBytes;
  std::vector<std::unique_ptr<Slab>> slabs_;
  // Received and not yet parsed: slab_->bytes[begin_, end_).
  Slab* slab_;
  size_t begin_ = 0;
  size_t end_ = 0;

  // A request of whose payload partial_bytes_ have arrived.
  std::unique_ptr<Request> partial_;
  size_t partial_bytes_ = 0;
  // A refused request; skip_bytes_ of its payload are still to come.
  std::unique_ptr<Request> skipping_;
  uint64_t skip_bytes_ = 0;

  // The last payload was large. The next one probably is, too, and should not
  // arrive in the slab.
  bool expect_large_ = false;
  bool tight_ = false;
  size_t needed_bytes_ = 0;
  std::string_view violation_;
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_REQUEST_READER_H_
