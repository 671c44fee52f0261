#include "server/http2/inflow.h"

#include <algorithm>
#include <cstring>

namespace ramvol::http2 {
namespace {

// The length of a message in its prefix, after a byte of flags (gRPC over
// HTTP2, "Length-Prefixed-Message").
size_t MessageLength(const std::array<char, 5>& prefix) {
  size_t length = 0;
  for (const char c : {prefix[1], prefix[2], prefix[3], prefix[4]}) {
    length = length << 8 | static_cast<unsigned char>(c);
  }
  return length;
}

}  // namespace

Inflow::Inflow(ClientMemory* memory, ClientMemory::Client* client,
               std::string peer, std::function<void()> granted)
    : granted_(std::move(granted)),
      room_(memory, client),
      windows_(memory, client) {
  // A machine that holds only windows goes first when it asks for more.
  room_.SetPeer(std::move(peer));
  room_.Open({.bytes = ClientMemory::kBaseBytes, .allowance_bytes = 0});
  windows_.Open({.bytes = 0,
                 .allowance_bytes = ClientMemory::kAllowanceBytes,
                 .unasked = true});
}

void Inflow::Open(uint32_t stream) { calls_.try_emplace(stream); }

void Inflow::Received(uint32_t stream, std::string_view bytes) {
  const auto found = calls_.find(stream);
  if (found == calls_.end()) return;
  Call& call = found->second;
  call.window_used += static_cast<int64_t>(bytes.size());
  while (!bytes.empty()) {
    if (call.prefix_have < kPrefixBytes) {
      TakePrefix(stream, call, bytes);
    } else {
      const size_t taken = std::min(call.left, bytes.size());
      call.left -= taken;
      bytes.remove_prefix(taken);
    }
    if (call.prefix_have == kPrefixBytes && call.left == 0) {
      EndMessage(stream, call);
    }
  }
  Settle(call);
}

void Inflow::TakePrefix(uint32_t stream, Call& call, std::string_view& bytes) {
  const size_t taken = std::min(kPrefixBytes - call.prefix_have, bytes.size());
  std::memcpy(&call.prefix[call.prefix_have], bytes.data(), taken);
  call.prefix_have += static_cast<uint8_t>(taken);
  bytes.remove_prefix(taken);
  if (call.prefix_have < kPrefixBytes) return;
  call.length = call.left = MessageLength(call.prefix);
  if (call.length > ClientMemory::kMaxMessageBytes) {
    call.room = Room::kRefused;
    too_long_.push_back({stream, call.length});
  } else if (call.length > ClientMemory::kLargeMessageBytes) {
    call.room = Room::kNeeded;
  }
}

void Inflow::EndMessage(uint32_t stream, Call& call) {
  if (call.room == Room::kThere) GiveRoom(call);
  // gRPC wanted more than the message took.
  if (call.room == Room::kAskedFor) Forget(stream);
  if (call.held_increment > 0) ready_.push_back({stream, call.held_increment});
  call.window_used -= std::exchange(call.held_increment, 0);
  call.room = Room::kNotNeeded;
  call.prefix_have = 0;
  call.length = 0;
}

void Inflow::Close(uint32_t stream) {
  const auto found = calls_.find(stream);
  if (found == calls_.end()) return;
  Call& call = found->second;
  if (call.room == Room::kThere) GiveRoom(call);
  if (call.room == Room::kAskedFor) Forget(stream);
  Charge(call, 0, /*dawdles=*/false);
  calls_.erase(found);
}

bool Inflow::MayUpdate(uint32_t stream) {
  const auto found = calls_.find(stream);
  if (found == calls_.end()) return true;
  Call& call = found->second;
  if (call.room == Room::kAskedFor || call.room == Room::kRefused) return false;
  if (call.room != Room::kNeeded) return true;
  return waiting_.empty() && TakeRoom(call);
}

void Inflow::Hold(const WindowUpdate& update) {
  Call& call = calls_.find(update.stream)->second;
  if (call.room == Room::kRefused) return;
  call.held_increment += update.increment;
  if (call.room == Room::kAskedFor) return;
  call.room = Room::kAskedFor;
  Settle(call);
  waiting_.push_back(update.stream);
  if (!room_.asking()) Serve();
}

void Inflow::Updated(const WindowUpdate& update) {
  const auto found = calls_.find(update.stream);
  if (found == calls_.end()) return;
  found->second.window_used -= update.increment;
  Settle(found->second);
}

void Inflow::TakeGrant() {
  // Else it was granted to a call that is gone.
  if (room_.granted()) Serve();
}

void Inflow::Serve() {
  while (!waiting_.empty()) {
    Call& call = calls_.find(waiting_.front())->second;
    if (!TakeRoom(call)) {
      room_.Ask(RoomBytes(call), granted_);
      return;
    }
    ready_.push_back({waiting_.front(), call.held_increment});
    call.window_used -= std::exchange(call.held_increment, 0);
    waiting_.pop_front();
  }
}

void Inflow::Forget(uint32_t stream) {
  const bool first = waiting_.front() == stream;
  std::erase(waiting_, stream);
  if (!first) return;
  room_.Withdraw();
  Serve();
}

bool Inflow::TakeRoom(Call& call) {
  if (!room_.Reserve(RoomBytes(call))) return false;
  room_.SetHeld(room_.held_bytes() + RoomBytes(call));
  room_.WaitsForClient(true);
  call.room = Room::kThere;
  Settle(call);
  return true;
}

void Inflow::GiveRoom(Call& call) {
  room_.SetHeld(room_.held_bytes() - RoomBytes(call));
  room_.WaitsForClient(false);
  call.room = Room::kNotNeeded;
}

void Inflow::Settle(Call& call) {
  const size_t arrived = call.room == Room::kThere ? 0 : call.arrived();
  const size_t used =
      static_cast<size_t>(std::max<int64_t>(call.window_used, 0));
  Charge(call, std::max(arrived, used),
         /*dawdles=*/arrived > 0 && call.room != Room::kAskedFor);
}

void Inflow::Charge(Call& call, size_t bytes, bool dawdles) {
  if (dawdles != call.dawdles) {
    const int before = dawdling_;
    dawdling_ += dawdles ? 1 : -1;
    call.dawdles = dawdles;
    if (before == 0 || dawdling_ == 0) windows_.WaitsForClient(dawdles);
  }
  if (bytes == call.charged) return;
  windows_.SetHeld(windows_.held_bytes() - call.charged + bytes);
  call.charged = bytes;
}

}  // namespace ramvol::http2
