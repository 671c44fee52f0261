#include "server/service/send_away.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/client_memory.h"
#include "base/event_log.h"
#include "base/reason.h"
#include "grpc/support/alloc.h"
#include "server/service/peer_text.h"

namespace ramvol::service {

absl::Status ClientTooSlow(size_t held_bytes) {
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat(
          "the call held ", held_bytes,
          " bytes of client memory and its client took too little of them "
          "while others waited, for ",
          absl::ToInt64Seconds(ClientMemory::kMaxStall),
          " s and a second for each ", ClientMemory::kMinBytesPerSecond,
          " bytes; read answers as they come, or ask for less at a time")),
      reason::kClientTooSlow);
}

void EndableCall::End(const absl::Status& status) {
  const std::unique_ptr<char, decltype(&gpr_free)> peer(
      grpc_call_get_peer(call_), &gpr_free);
  LogEvent(Event::kClientSentAway, {.client = PeerText(peer.get()),
                                    .over = "grpc",
                                    .reason = GetReason(status),
                                    .message = std::string(status.message())});
  const std::string text =
      absl::StrCat(GetReason(status), ": ", std::string(status.message()));
  // The core API: a status by gRPC's C++ API would queue behind the unread
  // answer.
  grpc_call_cancel_with_status(call_,
                               static_cast<grpc_status_code>(status.code()),
                               text.c_str(), nullptr);
}

}  // namespace ramvol::service
