// However its input is cut, FrameGate and Inflow say the same about it, and
// nothing stays charged.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "base/check.h"
#include "base/client_memory.h"
#include "server/http2/flood_budget.h"
#include "server/http2/frame_gate.h"
#include "server/http2/inflow.h"

namespace ramvol::http2 {
namespace {

struct Outcome {
  Flood flood = Flood::kNone;
  size_t streams = 0;
  uint64_t resets = 0;
  size_t window_bytes = 0;  // Once all was received.

  bool operator==(const Outcome&) const = default;
};

class NoClient final : public ClientMemory::Client {
 public:
  std::function<void()> SendAway() override { return nullptr; }
};

// Of all runs, since it has a thread.
ClientMemory& Memory() {
  static ClientMemory& memory = *new ClientMemory(
      {.limit_bytes = 1 << 20, .sweep_interval = absl::InfiniteDuration()});
  return memory;
}

// As WatchedConnection does.
void Send(FrameGate& gate, Inflow& inflow, std::string_view bytes) {
  size_t admitted = bytes.size();
  for (const auto& [offset, update] : gate.FindUpdates({bytes})) {
    if (inflow.MayUpdate(update.stream)) {
      inflow.Updated(update);
      continue;
    }
    inflow.Hold(update);
    admitted = offset;
    break;
  }
  gate.Sent(bytes.substr(0, admitted), 1);
  inflow.TakeGrant();
  inflow.TakeReady();
  inflow.TakeTooLong();
}

// In pieces of so many bytes.
Outcome Play(std::string_view received, std::string_view sent, size_t piece) {
  const auto peer = std::make_shared<PeerStreams>();
  FloodBudget common;
  Outcome outcome;
  NoClient client;
  const size_t used = Memory().GetStats().used_bytes;
  {
    Inflow inflow(&Memory(), &client, "", [] {});
    FrameGate gate(&common, peer, &inflow);
    gate.Received(FrameGate::kPreface, 1);
    for (; !received.empty(); received.remove_prefix(piece)) {
      piece = std::min(piece, received.size());
      outcome.flood = gate.Received(received.substr(0, piece), 1);
    }
    outcome.window_bytes = inflow.window_bytes();
    outcome.streams = gate.open_streams();
    outcome.resets = gate.rapid_resets();
    for (; !sent.empty(); sent.remove_prefix(piece)) {
      piece = std::min(piece, sent.size());
      Send(gate, inflow, sent.substr(0, piece));
    }
    RAMVOL_CHECK(common.places_taken() == gate.places_taken());
    RAMVOL_CHECK(gate.places_taken() >= gate.open_streams());
  }
  RAMVOL_CHECK(common.places_taken() == 0 && peer->open == 0);
  RAMVOL_CHECK(Memory().GetStats().used_bytes == used);
  RAMVOL_CHECK(Memory().GetStats().waiting == 0);
  return outcome;
}

}  // namespace
}  // namespace ramvol::http2

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using ramvol::http2::Play;
  if (size < 2) return 0;
  const std::string_view all(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::string_view received = all.substr(0, all.size() * data[0] / 255);
  const std::string_view sent = all.substr(received.size());
  const auto whole = Play(received, sent, size);
  const auto cut = Play(received, sent, data[1] % 16 + 1);
  RAMVOL_CHECK(whole == cut);
  return 0;
}
