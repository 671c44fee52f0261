#include "server/http2/frame_gate.h"

#include <algorithm>
#include <cstring>

namespace ramvol::http2 {
namespace {

// RFC 9113, section 6.
enum FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kRstStream = 3,
  kWindowUpdate = 8,
  kContinuation = 9,
};
constexpr uint8_t kEndStream = 0x1;
constexpr uint8_t kEndHeaders = 0x4;
constexpr uint8_t kPadded = 0x8;
constexpr uint8_t kPriority = 0x20;
constexpr size_t kPriorityBytes = 5;

size_t Byte(char c) { return static_cast<unsigned char>(c); }

// 31 bits; the highest one has no meaning.
uint32_t Number(absl::Span<const char> bytes) {
  return static_cast<uint32_t>((Byte(bytes[0]) & 0x7f) << 24 |
                               Byte(bytes[1]) << 16 | Byte(bytes[2]) << 8 |
                               Byte(bytes[3]));
}

// Fills `bytes` with those from `offset` on; false when there are too few.
bool CopyFrom(absl::Span<const std::string_view> parts, size_t offset,
              absl::Span<char> bytes) {
  for (std::string_view part : parts) {
    const size_t skipped = std::min(offset, part.size());
    offset -= skipped;
    part.remove_prefix(skipped);
    const size_t copied = part.copy(bytes.data(), bytes.size());
    bytes.remove_prefix(copied);
  }
  return bytes.empty();
}

}  // namespace

bool FrameGate::Reader::Next(std::string_view* bytes, Head* head) {
  const size_t skipped = std::min(skip_, bytes->size());
  skip_ -= skipped;
  bytes->remove_prefix(skipped);
  const size_t taken = std::min(kHeadBytes - have_, bytes->size());
  std::memcpy(&head_[have_], bytes->data(), taken);
  have_ += taken;
  bytes->remove_prefix(taken);
  if (have_ < kHeadBytes) return false;
  have_ = 0;
  head->length = Byte(head_[0]) << 16 | Byte(head_[1]) << 8 | Byte(head_[2]);
  head->type = static_cast<uint8_t>(head_[3]);
  head->flags = static_cast<uint8_t>(head_[4]);
  head->stream = Number(absl::MakeConstSpan(head_).subspan(5));
  skip_ = head->length;
  return true;
}

FrameGate::FrameGate(FloodBudget* common, std::shared_ptr<PeerStreams> peer,
                     Inflow* inflow)
    : common_(*common), peer_(std::move(peer)), inflow_(*inflow) {}

FrameGate::~FrameGate() { common_.GivePlaces(*peer_, places_); }

Flood FrameGate::Received(std::string_view bytes, int64_t now_ns) {
  Head head;
  TakePayload(bytes);
  while (flood_ == Flood::kNone && received_.Next(&bytes, &head)) {
    flood_ = OnReceived(head, now_ns);
    TakePayload(bytes);
  }
  if (!block_open_ && received_.left() == 0) {
    block_began_ns_.store(0, std::memory_order_relaxed);
  }
  return flood_;
}

void FrameGate::TakePayload(std::string_view bytes) {
  if (flood_ != Flood::kNone) return;
  TakeData(bytes);
  if (in_headers_) flood_ = TakeHeaders(bytes);
}

void FrameGate::BeginData(const Head& head) {
  data_stream_ = head.stream;
  data_left_ = head.length;
  padding_unknown_ = (head.flags & kPadded) != 0 && head.length > 0;
}

void FrameGate::TakeData(std::string_view bytes) {
  if (data_left_ == 0 || bytes.empty()) return;
  if (padding_unknown_) {
    padding_unknown_ = false;
    const size_t padding = 1 + Byte(bytes.front());
    data_left_ -= std::min(padding, data_left_);
    bytes.remove_prefix(1);
  }
  const std::string_view taken = bytes.substr(0, data_left_);
  data_left_ -= taken.size();
  inflow_.Received(data_stream_, taken);
}

Flood FrameGate::OnReceived(const Head& head, int64_t now_ns) {
  // Nothing else may come in between.
  if (block_open_ && head.type != kContinuation) return Flood::kHeaders;
  // What came before is complete.
  if (!block_open_) block_began_ns_.store(0, std::memory_order_relaxed);
  switch (head.type) {
    case kData:
      BeginData(head);
      return head.length == 0 && (head.flags & kEndStream) == 0
                 ? OnControl(now_ns)
                 : Flood::kNone;
    case kHeaders:
    case kContinuation:
      return OnHeaderBlock(head, now_ns);
    case kRstStream:
      return OnReset(head.stream, now_ns);
    case kWindowUpdate:
      // Reading makes as many of them as there are answers, and each takes
      // next to nothing.
      return Flood::kNone;
    default:
      return OnControl(now_ns);
  }
}

Flood FrameGate::OnHeaderBlock(const Head& head, int64_t now_ns) {
  const bool first = head.type == kHeaders;
  // gRPC reads padding as fields.
  if (first && (head.flags & kPadded) != 0) return Flood::kHeaders;
  if (first) {
    block_bytes_ = 0;
    continuations_ = 0;
    block_stream_ = head.stream;
    fields_ = HeaderFields();
    block_began_ns_.store(now_ns, std::memory_order_relaxed);
  } else if (!block_open_ || ++continuations_ > kMaxContinuations) {
    return Flood::kHeaders;
  }
  block_open_ = (head.flags & kEndHeaders) == 0;
  block_bytes_ += head.length;
  if (block_bytes_ > kMaxHeaderBlockBytes) return Flood::kHeaders;
  in_headers_ = true;
  headers_left_ = head.length;
  priority_left_ = first && (head.flags & kPriority) != 0 ? kPriorityBytes : 0;
  return first ? OpenStream(head.stream, now_ns) : Flood::kNone;
}

Flood FrameGate::TakeHeaders(std::string_view bytes) {
  std::string_view taken = bytes.substr(0, headers_left_);
  headers_left_ -= taken.size();
  in_headers_ = headers_left_ > 0;
  const size_t skipped = std::min(priority_left_, taken.size());
  priority_left_ -= skipped;
  taken.remove_prefix(skipped);
  if (!fields_.Take(taken) || fields_.count() > kMaxHeaderFields) {
    return Flood::kHeaders;
  }
  return in_headers_ || block_open_ ? Flood::kNone : EndHeaderBlock();
}

Flood FrameGate::EndHeaderBlock() {
  if (!fields_.complete()) return Flood::kHeaders;
  const auto found = streams_.find(block_stream_);
  // Beyond what each call is charged for.
  const size_t places =
      (block_bytes_ + fields_.count() * kHeaderFieldBytes) / kStreamBytes;
  if (found == streams_.end() || places == 0) return Flood::kNone;
  if (!common_.TakePlaces(*peer_, places)) return Flood::kStreams;
  places_ += places;
  found->second.places += places;
  return Flood::kNone;
}

Flood FrameGate::OpenStream(uint32_t stream, int64_t now_ns) {
  // The end of a call that is open already, or something that gRPC refuses.
  if (stream <= last_stream_) return OnControl(now_ns);
  last_stream_ = stream;
  if (!common_.TakePlaces(*peer_, 1)) return Flood::kStreams;
  ++places_;
  streams_.emplace(stream, Stream{.opened_ns = now_ns});
  inflow_.Open(stream);
  return Flood::kNone;
}

std::optional<FrameGate::Stream> FrameGate::CloseStream(uint32_t stream) {
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return std::nullopt;
  const Stream closed = found->second;
  streams_.erase(found);
  inflow_.Close(stream);
  places_ -= closed.places;
  common_.GivePlaces(*peer_, closed.places);
  return closed;
}

Flood FrameGate::OnReset(uint32_t stream, int64_t now_ns) {
  const std::optional<Stream> closed = CloseStream(stream);
  // Maybe its answer was on its way.
  if (!closed.has_value()) return OnControl(now_ns);
  return CountReset(*closed, now_ns);
}

Flood FrameGate::CountReset(const Stream& stream, int64_t now_ns) {
  if (now_ns - stream.opened_ns >= kRapidResetNs) return Flood::kNone;
  ++rapid_resets_;
  // The first place is twice what a call holds, but for its headers.
  const auto weight = static_cast<double>(2 * stream.places - 1);
  if (!resets_.Take(now_ns, weight)) return Flood::kResets;
  // The one that resets goes when all together reset too much, not the one that
  // did most: it may have gone long ago, and others would pay for it.
  const bool few = few_resets_.Take(now_ns, weight);
  return common_.TakeReset(now_ns, weight) || few ? Flood::kNone
                                                  : Flood::kResets;
}

Flood FrameGate::OnControl(int64_t now_ns) {
  return controls_.Take(now_ns) ? Flood::kNone : Flood::kControl;
}

void FrameGate::Sent(std::string_view bytes, int64_t now_ns) {
  Head head;
  while (sent_.Next(&bytes, &head)) OnSent(head, now_ns);
}

std::vector<FrameGate::UpdateAt> FrameGate::FindUpdates(
    absl::Span<const std::string_view> parts) const {
  std::vector<UpdateAt> found;
  Reader reader = sent_;
  Head head;
  size_t end = 0;  // Of the part.
  for (std::string_view rest : parts) {
    end += rest.size();
    while (reader.Next(&rest, &head)) {
      const size_t payload = end - rest.size();
      std::array<char, kUpdateBytes - kHeadBytes> increment;
      if (head.type != kWindowUpdate || head.stream == 0 ||
          payload < kHeadBytes ||
          !CopyFrom(parts, payload, absl::MakeSpan(increment))) {
        continue;
      }
      found.push_back({.offset = payload - kHeadBytes,
                       .update = {head.stream, Number(increment)}});
    }
  }
  return found;
}

void FrameGate::OnSent(const Head& head, int64_t now_ns) {
  const bool answers = head.type == kData || head.type == kHeaders;
  if (answers) controls_.Give(kControlsPerAnswer);
  const bool ends =
      head.type == kRstStream || (answers && (head.flags & kEndStream) != 0);
  if (!ends) return;
  const std::optional<Stream> closed = CloseStream(head.stream);
  // A client can make the server reset its calls, too.
  if (closed.has_value() && head.type == kRstStream && flood_ == Flood::kNone) {
    flood_ = CountReset(*closed, now_ns);
  }
}

bool FrameGate::headers_late(int64_t now_ns) const {
  const int64_t began_ns = block_began_ns_.load(std::memory_order_relaxed);
  return began_ns != 0 && now_ns - began_ns > kHeaderBlockTimeoutNs;
}

}  // namespace ramvol::http2
