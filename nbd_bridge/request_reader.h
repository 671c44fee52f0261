// From a socket's bytes to requests.
#ifndef RAMVOL_NBD_BRIDGE_REQUEST_READER_H_
#define RAMVOL_NBD_BRIDGE_REQUEST_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "nbd_bridge/request.h"
#include "nbd_bridge/socket.h"
#include "nbd_bridge/validation.h"

namespace ramvol::nbd {

// Takes in as many requests as have arrived with each receive. A payload that
// arrived whole stays where it is; the rest of another is received straight
// into its own buffer.
//
// Not thread-safe. Must outlive its requests.
class RequestReader {
 public:
  // Where requests arrive; while it is wide, and else.
  static constexpr size_t kWideSlabBytes = size_t{256} << 10;
  static constexpr size_t kNarrowSlabBytes = size_t{16} << 10;
  // Payloads are copied out of a slab rather than more than so many are held.
  static constexpr size_t kMaxSlabs = 32;
  // What each request counts beside its data.
  static constexpr size_t kRequestBytes = 512;
  // What a block status counts for each extent that it may find: that and its
  // descriptor in the reply.
  static constexpr size_t kExtentBytes = sizeof(Extent) + 16;

  RequestReader(Socket& socket, const SessionTraits& traits,
                RequestOwner* owner);

  enum class Received {
    kBytes,
    kNothing,  // For the socket's idle time.
    kEnd,      // There will be no more.
  };
  Received Receive();

  enum class Parsed {
    kNeedsBytes,  // Receive, and try again.
    kNeedsRoom,   // The next request counts needed_bytes().
    kEnd,         // The client disconnects, or broke the protocol.
  };
  // Appends requests that have arrived, as long as they count no more than
  // `room_bytes` together.
  Parsed Parse(size_t room_bytes, std::vector<std::unique_ptr<Request>>* out);

  // 0 when Parse did not end with kNeedsRoom.
  size_t needed_bytes() const { return needed_bytes_; }

  // Whether Receive waits for the rest of a payload.
  bool in_payload() const {
    return partial_ != nullptr || skipping_ != nullptr;
  }
  // What the request counts whose payload has only begun to arrive, and which
  // Parse therefore has not appended yet, and all slabs but one.
  size_t held_bytes() const;

  // With more room, Receive would have to be called less often.
  bool IsTight() const { return tight_; }
  void SetWide(bool wide) {
    slab_bytes_ = wide ? kWideSlabBytes : kNarrowSlabBytes;
  }
  // All but the present one; a burst's memory shall not stay for good.
  void ForgetFreeSlabs();

 private:
  size_t unparsed() const { return end_ - begin_; }
  char* front() const { return slab_->bytes.get() + begin_; }
  // Makes room behind end_ for at least a request's header.
  void PrepareSlab();
  Received ReceivePayload();
  // One that nobody uses; perhaps the present one.
  Slab* FindFreeSlab();
  size_t Charge(const RequestHeader& header) const;
  // The payload of a request that has arrived, at least in part.
  void TakePayload(std::unique_ptr<Request> request,
                   std::vector<std::unique_ptr<Request>>* out);
  void SkipPayload(std::unique_ptr<Request> request,
                   std::vector<std::unique_ptr<Request>>* out);

  Socket& socket_;
  const SessionTraits traits_;
  RequestOwner* const owner_;

  size_t slab_bytes_ = kNarrowSlabBytes;
  std::vector<std::unique_ptr<Slab>> slabs_;
  // What has arrived and is not taken is slab_->bytes[begin_, end_).
  Slab* slab_;
  size_t begin_ = 0;
  size_t end_ = 0;

  // Its payload has arrived up to partial_bytes_.
  std::unique_ptr<Request> partial_;
  size_t partial_bytes_ = 0;
  // A refused one, of whose payload skip_bytes_ are still to come.
  std::unique_ptr<Request> skipping_;
  uint64_t skip_bytes_ = 0;

  // The last payload was large: so may be the next, and should not arrive in
  // the slab.
  bool expect_large_ = false;
  bool tight_ = false;
  size_t needed_bytes_ = 0;
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_REQUEST_READER_H_
