// Lets large messages of calls in as client memory has room for them.
#ifndef RAMVOL_SERVER_HTTP2_INFLOW_H_
#define RAMVOL_SERVER_HTTP2_INFLOW_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/client_memory.h"

namespace ramvol::http2 {

// gRPC receives a whole message before anybody sees it, and asks for its bytes
// by WINDOW_UPDATE frames of the call (RFC 9113, section 6.9). For a large
// message (ClientMemory::kLargeMessageBytes) these frames are held back until
// client memory has room for the message and for what it is decoded into. Until
// then the server holds the call's first window of it, 64 KiB. The call's
// handler charges the message itself once it has arrived, so it must do that
// without waiting.
//
// Large messages of one connection come in one after another, in the order in
// which gRPC asked for them. What has arrived of small messages, and what gRPC
// has not asked to replace, is charged without being asked for.
//
// Not thread-safe.
class Inflow {
 public:
  // Increases the window of a call.
  struct WindowUpdate {
    uint32_t stream;
    uint32_t increment;
  };
  struct TooLong {
    uint32_t stream;
    size_t length;
  };

  // Charges the connection itself to `memory`, as a client of the machine
  // `peer` (see PeerOf), and all that arrives on it. Borrows the first two;
  // `client` is whom to send away. `granted` is called as
  // ClientMemory::Holder::Ask has it; TakeGrant has to follow.
  Inflow(ClientMemory* memory, ClientMemory::Client* client, std::string peer,
         std::function<void()> granted);

  Inflow(const Inflow&) = delete;
  Inflow& operator=(const Inflow&) = delete;

  void Open(uint32_t stream);
  // The next bytes of the call's messages, each with gRPC's prefix of 5 bytes,
  // cut anywhere. Nothing happens when the call is not open.
  void Received(uint32_t stream, std::string_view bytes);
  void Close(uint32_t stream);

  // Whether a WINDOW_UPDATE of the call may be sent now; else Hold it.
  [[nodiscard]] bool MayUpdate(uint32_t stream);
  void Hold(const WindowUpdate& update);
  // It is on its way.
  void Updated(const WindowUpdate& update);

  // To be called after `granted` was.
  void TakeGrant();
  // Those that were held and may be sent now, Updated with it.
  std::vector<WindowUpdate> TakeReady() { return std::exchange(ready_, {}); }
  // Calls with messages of more than ClientMemory::kMaxMessageBytes. They have
  // to be answered; no more of them comes in.
  std::vector<TooLong> TakeTooLong() { return std::exchange(too_long_, {}); }
  bool has_news() const { return !ready_.empty() || !too_long_.empty(); }

  // Of large messages, and of all else.
  size_t room_bytes() const { return room_.held_bytes(); }
  size_t window_bytes() const { return windows_.held_bytes(); }

 private:
  static constexpr size_t kPrefixBytes = 5;

  enum class Room : uint8_t {
    kNotNeeded,  // The message is small, or there is none.
    kNeeded,
    kAskedFor,
    kThere,
    kRefused,
  };
  struct Call {
    // Of the message that arrives.
    Room room = Room::kNotNeeded;
    uint8_t prefix_have = 0;
    std::array<char, kPrefixBytes> prefix = {};
    size_t length = 0;
    size_t left = 0;
    // Received less what was sent in WINDOW_UPDATEs.
    int64_t window_used = 0;
    uint32_t held_increment = 0;
    size_t charged = 0;  // To windows_.
    bool dawdles = false;

    // Of the message, what is here.
    size_t arrived() const { return prefix_have + length - left; }
  };

  void TakePrefix(uint32_t stream, Call& call, std::string_view& bytes);
  void EndMessage(uint32_t stream, Call& call);
  [[nodiscard]] bool TakeRoom(Call& call);
  void GiveRoom(Call& call);
  void Forget(uint32_t stream);
  // Serves those that wait, and asks for the first that has to go on waiting.
  void Serve();
  // Charges `bytes` to windows_ for the call, whose client has to send more if
  // it `dawdles`.
  void Charge(Call& call, size_t bytes, bool dawdles);
  void Settle(Call& call);
  static size_t RoomBytes(const Call& call) { return 2 * call.length; }

  absl::flat_hash_map<uint32_t, Call> calls_;
  std::deque<uint32_t> waiting_;
  std::vector<WindowUpdate> ready_;
  std::vector<TooLong> too_long_;
  int dawdling_ = 0;
  const std::function<void()> granted_;
  // For large messages, and for what is here of others: what is held by the
  // latter does not lessen the connection's share.
  ClientMemory::Holder room_;
  ClientMemory::Holder windows_;
};

}  // namespace ramvol::http2

#endif  // RAMVOL_SERVER_HTTP2_INFLOW_H_
