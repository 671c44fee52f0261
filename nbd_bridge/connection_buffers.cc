#include "nbd_bridge/connection_buffers.h"

#include "nbd_bridge/request_reader.h"

namespace ramvol::nbd {

bool ConnectionBuffers::Widen() {
  if (wide_) return false;
  const size_t bytes = RequestReader::kWideSlabBytes + socket_.wide_bytes();
  if (!holder_.TakeSpare(bytes)) return false;
  wide_ = true;
  socket_.Widen();
  return true;
}

bool ConnectionBuffers::Narrow() {
  if (!wide_) return true;
  // The kernel charges about twice the payload (see Socket::kNarrowBytes).
  SetUntaken(socket_.unsent_bytes() > 2 * Socket::kNarrowBytes);
  if (untaken_) return false;
  wide_ = false;
  socket_.Narrow();
  holder_.GiveSpare(socket_.kept_bytes());
  return true;
}

void ConnectionBuffers::SetUntaken(bool untaken) {
  if (untaken == untaken_) return;
  untaken_ = untaken;
  holder_.WaitsForClient(untaken);
}

}  // namespace ramvol::nbd
