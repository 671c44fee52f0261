// However its input is cut, FrameGate says the same about it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/check.h"
#include "server/http2/frame_gate.h"

namespace ramvol::http2 {
namespace {

struct Outcome {
  Flood flood = Flood::kNone;
  size_t streams = 0;
  uint64_t resets = 0;
};

// In pieces of so many bytes.
Outcome Play(std::string_view received, std::string_view sent, size_t piece) {
  const auto peer = std::make_shared<PeerStreams>();
  FloodBudget common;
  Outcome outcome;
  {
    FrameGate gate(&common, peer);
    gate.Received(FrameGate::kPreface, 1);
    for (; !received.empty(); received.remove_prefix(piece)) {
      piece = std::min(piece, received.size());
      outcome.flood = gate.Received(received.substr(0, piece), 1);
    }
    for (; !sent.empty(); sent.remove_prefix(piece)) {
      piece = std::min(piece, sent.size());
      gate.Sent(sent.substr(0, piece), 1);
    }
    outcome.streams = gate.open_streams();
    outcome.resets = gate.rapid_resets();
    RAMVOL_CHECK(common.open_streams() == gate.open_streams());
  }
  RAMVOL_CHECK(common.open_streams() == 0 && peer->open == 0);
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
  RAMVOL_CHECK(whole.flood == cut.flood && whole.streams == cut.streams &&
               whole.resets == cut.resets);
  return 0;
}
