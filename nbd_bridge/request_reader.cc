#include "nbd_bridge/request_reader.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "base/nbd_constants.h"
#include "nbd_bridge/error.h"

namespace ramvol::nbd {
namespace {

// After a payload of this size or more, the next is expected to be large, too.
constexpr uint64_t kLargePayloadBytes = uint64_t{128} << 10;
// Most bytes to receive at once when a large payload is expected: its first
// bytes land in the slab and must be copied.
constexpr size_t kSmallReceiveBytes = 4096;
// With less room than this at the slab's end, the next slab is used.
constexpr size_t kMinReceiveBytes = 4096;
// Longest payload of a refused request that is read and dropped. Beyond it, the
// connection ends. Extended headers announce up to 2^64 bytes, so the protocol
// allows a server to disconnect such clients.
uint64_t MaxSkippedBytes(Style style) {
  return style == Style::kExtended ? kMaxPayloadBytes
                                   : std::numeric_limits<uint32_t>::max();
}

bool IsFree(const Slab& slab) {
  return slab.users.load(std::memory_order_acquire) == 0;
}

}  // namespace

RequestReader::RequestReader(Socket& socket, const SessionTraits& traits,
                             RequestOwner* owner)
    : socket_(socket), traits_(traits), owner_(owner), slab_(FindFreeSlab()) {}

RequestReader::Received RequestReader::Receive() {
  if (partial_ != nullptr) return ReceivePayload();
  PrepareSlab();
  const size_t room = slab_->size - end_;
  iovec part{slab_->bytes.get() + end_,
             expect_large_ ? std::min(room, kSmallReceiveBytes) : room};
  const auto got = socket_.Receive({&part, 1}, /*wait_for_all=*/false);
  if (!got.has_value()) return Received::kNothing;
  end_ += *got;
  tight_ = *got == room;
  return *got != 0 ? Received::kBytes : Received::kEnd;
}

RequestReader::Received RequestReader::ReceivePayload() {
  iovec rest{partial_->buffer.get() + partial_bytes_,
             std::min<size_t>(partial_->header.length - partial_bytes_,
                              Socket::kMaxBytesAtOnce)};
  tight_ = partial_->header.length > kNarrowSlabBytes;
  const auto got = socket_.Receive({&rest, 1}, /*wait_for_all=*/true);
  if (!got.has_value()) return Received::kNothing;
  partial_bytes_ += *got;
  return *got != 0 ? Received::kBytes : Received::kEnd;
}

void RequestReader::PrepareSlab() {
  // Less than a header, or requests that wait for room.
  const size_t rest = unparsed();
  if (rest == 0 && IsFree(*slab_)) {
    begin_ = end_ = 0;
    ForgetFreeSlabs();
  }
  const bool resize = slab_->size != slab_bytes_ && rest < kMinReceiveBytes;
  if (!resize && slab_->size - end_ >= kMinReceiveBytes) return;
  Slab* next = FindFreeSlab();
  std::memmove(next->bytes.get(), front(), rest);
  slab_ = next;
  begin_ = 0;
  end_ = rest;
  if (resize) ForgetFreeSlabs();
}

Slab* RequestReader::FindFreeSlab() {
  for (const std::unique_ptr<Slab>& slab : slabs_) {
    if (slab->size == slab_bytes_ && IsFree(*slab)) return slab.get();
  }
  return slabs_.emplace_back(std::make_unique<Slab>(slab_bytes_)).get();
}

void RequestReader::ForgetFreeSlabs() {
  if (slabs_.size() == 1) return;
  std::erase_if(slabs_, [this](const std::unique_ptr<Slab>& slab) {
    return slab.get() != slab_ && IsFree(*slab);
  });
}

size_t RequestReader::Charge(const RequestHeader& header) const {
  switch (static_cast<Command>(header.command)) {
    case Command::kRead:
    case Command::kWrite:
    case Command::kCache:
      return kRequestBytes + static_cast<size_t>(header.length);
    case Command::kBlockStatus:
      return kRequestBytes +
             traits_.contexts * MaxExtents(header) * kExtentBytes;
    default:
      return kRequestBytes;
  }
}

RequestReader::Parsed RequestReader::Parse(
    size_t room_bytes, std::vector<std::unique_ptr<Request>>* out) {
  needed_bytes_ = 0;
  if (partial_ != nullptr) {
    if (partial_bytes_ < partial_->header.length) return Parsed::kNeedsBytes;
    out->push_back(std::move(partial_));
  }
  const size_t header_bytes = RequestBytes(traits_.style);
  for (;;) {
    if (skipping_ != nullptr) {
      SkipPayload(std::move(skipping_), out);
      if (skipping_ != nullptr) return Parsed::kNeedsBytes;
    }
    if (unparsed() < header_bytes) return Parsed::kNeedsBytes;
    RequestHeader header;
    // After a wrong magic number, nothing tells where the next request begins.
    if (!DecodeRequest(traits_.style, front(), &header)) {
      violation_ = "a request does not begin with NBD's magic number";
      return Parsed::kEnd;
    }
    if (header.command == static_cast<uint16_t>(Command::kDisconnect)) {
      return Parsed::kEnd;
    }
    // A client that was told elsewhere that the volume grew goes on with this
    // connection: the kernel's device, say.
    if (!IsInRange(traits_, header)) traits_.size_bytes = owner_->size_bytes();
    Refusal refusal = Validate(traits_, header);
    const bool refused = refusal.error != Error::kNone;
    const size_t charge = refused ? kRequestBytes : Charge(header);
    if (charge > room_bytes) {
      needed_bytes_ = charge;
      return Parsed::kNeedsRoom;
    }
    room_bytes -= charge;
    begin_ += header_bytes;

    auto request = std::make_unique<Request>(owner_);
    request->header = header;
    request->charged_bytes = charge;
    request->error = refusal.error;
    request->message = std::move(refusal.message);
    if (!HasPayload(traits_, header)) {
      out->push_back(std::move(request));
    } else if (refused) {
      if (header.length > MaxSkippedBytes(traits_.style)) {
        violation_ = "a payload is longer than the server announced";
        return Parsed::kEnd;
      }
      skip_bytes_ = header.length;
      SkipPayload(std::move(request), out);
    } else {
      TakePayload(std::move(request), out);
      if (partial_ != nullptr) return Parsed::kNeedsBytes;
    }
  }
}

size_t RequestReader::held_bytes() const {
  size_t bytes = (slabs_.size() - 1) * slab_bytes_;
  if (partial_ != nullptr) bytes += partial_->charged_bytes;
  if (skipping_ != nullptr) bytes += skipping_->charged_bytes;
  return bytes;
}

void RequestReader::TakePayload(std::unique_ptr<Request> request,
                                std::vector<std::unique_ptr<Request>>* out) {
  const auto length = static_cast<size_t>(request->header.length);
  expect_large_ = length >= kLargePayloadBytes;
  const size_t arrived = std::min(unparsed(), length);
  // A payload that stays in its slab keeps the whole slab in use, so the number
  // of slabs is bounded.
  if (arrived == length && slabs_.size() < kMaxSlabs) {
    request->payload = {front(), length};
    request->slab = slab_;
    slab_->users.fetch_add(1, std::memory_order_relaxed);
  } else {
    request->buffer.reset(new char[length]);
    request->payload = {request->buffer.get(), length};
    std::memcpy(request->buffer.get(), front(), arrived);
  }
  begin_ += arrived;
  if (arrived == length) {
    out->push_back(std::move(request));
  } else {
    partial_ = std::move(request);
    partial_bytes_ = arrived;
  }
}

void RequestReader::SkipPayload(std::unique_ptr<Request> request,
                                std::vector<std::unique_ptr<Request>>* out) {
  const auto skipped =
      static_cast<size_t>(std::min<uint64_t>(skip_bytes_, unparsed()));
  begin_ += skipped;
  skip_bytes_ -= skipped;
  if (skip_bytes_ == 0) {
    out->push_back(std::move(request));
  } else {
    skipping_ = std::move(request);
  }
}

}  // namespace ramvol::nbd
