// Watches the frames of an HTTP/2 connection for floods and large messages.
#ifndef RAMVOL_SERVER_HTTP2_FRAME_GATE_H_
#define RAMVOL_SERVER_HTTP2_FRAME_GATE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "server/http2/flood_budget.h"
#include "server/http2/header_fields.h"
#include "server/http2/inflow.h"
#include "server/http2/token_bucket.h"

namespace ramvol::http2 {

// Longest block of headers, and most frames that continue it. gRPC takes 8 KiB
// from clients that have acknowledged its settings, and 16 MiB from others.
inline constexpr size_t kMaxHeaderBlockBytes = 64 << 10;
inline constexpr int kMaxContinuations = 16;
// Most fields of a block, and the bytes that gRPC holds for each of them: a
// byte of the block may stand for one. 8 KiB of fields are 248 at most.
inline constexpr size_t kMaxHeaderFields = 1024;
inline constexpr size_t kHeaderFieldBytes = 160;
// How long a block of headers may take to arrive.
inline constexpr int64_t kHeaderBlockTimeoutNs = 10'000'000'000;
// A call that its client gives up sooner than this is a rapid reset: the server
// may not even have begun it, and holds about 15 KB until it has.
inline constexpr int64_t kRapidResetNs = 1'000'000'000;
// Rapid resets of a connection: so many at once, and so many a second.
inline constexpr double kResetBurst = 1000;
inline constexpr double kResetsPerSecond = 100;
// So few never end a connection, whatever others do: the memory that a
// connection is charged for holds the calls that were reset.
inline constexpr double kFewResets = 4;
inline constexpr double kFewResetsPerSecond = 1;
// Frames that carry nothing (pings, settings, empty data, priorities, what is
// unknown, resets of no call), likewise. Each frame of
// an answer allows for two more: clients measure their network by pings.
inline constexpr double kControlBurst = 1000;
inline constexpr double kControlsPerSecond = 100;
inline constexpr double kControlsPerAnswer = 2;

enum class Flood {
  kNone,
  kResets,   // Too many rapid resets.
  kStreams,  // Too many calls open at once.
  kHeaders,  // A block of headers is too long, in too many parts, or none.
  kControl,  // Too many frames that carry nothing.
};

// Sees both directions of a server's connection. It reads frames' heads, where
// the fields of headers begin, the prefixes of messages and WINDOW_UPDATEs, so
// it costs some ns a frame and a field. It takes the client's preface and
// frames to be well-formed where it does not look at them: gRPC, which reads
// the connection, has to check them.
//
// One thread at a time, but for `headers_late`. Times are in ns of a steady
// clock.
class FrameGate {
 public:
  // Of the preface that clients begin with.
  static constexpr std::string_view kPreface =
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

  // Bytes of a WINDOW_UPDATE.
  static constexpr size_t kUpdateBytes = 13;

  // Borrows `common`, what all connections may do together, and the
  // connection's `inflow`.
  FrameGate(FloodBudget* common, std::shared_ptr<PeerStreams> peer,
            Inflow* inflow);
  ~FrameGate();

  FrameGate(const FrameGate&) = delete;
  FrameGate& operator=(const FrameGate&) = delete;

  // Takes the next bytes from the client, cut anywhere. Whether they may be
  // passed on; else the connection has to be closed, and the gate says the same
  // for all that follows.
  Flood Received(std::string_view bytes, int64_t now_ns);
  // Takes the next bytes to the client, after what they answer was received.
  void Sent(std::string_view bytes, int64_t now_ns);

  // Where the WINDOW_UPDATEs of calls are in what is to be sent next, `parts`
  // one after another. Of a frame that is not there in full, or whose beginning
  // was sent before, nothing is said.
  struct UpdateAt {
    size_t offset;
    Inflow::WindowUpdate update;
  };
  std::vector<UpdateAt> FindUpdates(
      absl::Span<const std::string_view> parts) const;
  // Nothing of a frame was sent without the rest of it.
  bool between_sent_frames() const { return sent_.between_frames(); }

  // A block of headers has not arrived within kHeaderBlockTimeoutNs.
  bool headers_late(int64_t now_ns) const;
  uint64_t rapid_resets() const { return rapid_resets_; }
  // Calls that are open, and the places that they take.
  size_t open_streams() const { return streams_.size(); }
  size_t places_taken() const { return places_; }

 private:
  static constexpr size_t kHeadBytes = 9;

  struct Head {
    size_t length = 0;
    uint8_t type = 0;
    uint8_t flags = 0;
    uint32_t stream = 0;
  };
  // Cuts a direction into frames.
  class Reader {
   public:
    explicit Reader(size_t skip) : skip_(skip) {}
    // Consumes from `bytes`; true when a head is complete.
    bool Next(std::string_view* bytes, Head* head);
    // The payload of the last frame that is still to come.
    size_t left() const { return skip_; }
    // Of the next head, what has come.
    size_t have() const { return have_; }
    bool between_frames() const { return skip_ == 0 && have_ == 0; }

   private:
    size_t skip_;
    size_t have_ = 0;
    std::array<char, kHeadBytes> head_ = {};
  };

  Flood OnReceived(const Head& head, int64_t now_ns);
  // `bytes` begin with what is left of a frame.
  void TakePayload(std::string_view bytes);
  void BeginData(const Head& head);
  // `bytes` begin with what is left of a frame of data.
  void TakeData(std::string_view bytes);
  Flood OnHeaderBlock(const Head& head, int64_t now_ns);
  // `bytes` begin with what is left of a frame of headers.
  Flood TakeHeaders(std::string_view bytes);
  // The block has arrived: charges its stream for it.
  Flood EndHeaderBlock();
  Flood OpenStream(uint32_t stream, int64_t now_ns);
  struct Stream {
    int64_t opened_ns = 0;
    size_t places = 1;
  };
  // Nothing when it was not open.
  std::optional<Stream> CloseStream(uint32_t stream);
  Flood OnReset(uint32_t stream, int64_t now_ns);
  Flood CountReset(const Stream& stream, int64_t now_ns);
  Flood OnControl(int64_t now_ns);
  void OnSent(const Head& head, int64_t now_ns);

  FloodBudget& common_;
  const std::shared_ptr<PeerStreams> peer_;
  Inflow& inflow_;

  Flood flood_ = Flood::kNone;
  Reader received_{kPreface.size()};
  Reader sent_{0};
  uint32_t last_stream_ = 0;
  absl::flat_hash_map<uint32_t, Stream> streams_;
  size_t places_ = 0;  // All of theirs.
  TokenBucket resets_{kResetBurst, kResetsPerSecond};
  TokenBucket few_resets_{kFewResets, kFewResetsPerSecond};
  TokenBucket controls_{kControlBurst, kControlsPerSecond};
  uint64_t rapid_resets_ = 0;

  // The data that is arriving.
  uint32_t data_stream_ = 0;
  size_t data_left_ = 0;
  bool padding_unknown_ = false;  // The next byte says how much there is.

  // The block of headers that is arriving.
  bool block_open_ = false;  // More frames continue it.
  size_t block_bytes_ = 0;
  int continuations_ = 0;
  uint32_t block_stream_ = 0;
  HeaderFields fields_;
  // Of a frame of headers: it has not arrived in full; what is left of it, and
  // of the priority that it may begin with.
  bool in_headers_ = false;
  size_t headers_left_ = 0;
  size_t priority_left_ = 0;
  std::atomic<int64_t> block_began_ns_{0};  // 0: there is none.
};

}  // namespace ramvol::http2

#endif  // RAMVOL_SERVER_HTTP2_FRAME_GATE_H_
