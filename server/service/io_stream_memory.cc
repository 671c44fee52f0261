#include "server/service/io_stream_memory.h"

#include <utility>

namespace ramvol::service {

bool IoStreamMemory::Open(std::string peer, std::function<void()> granted) {
  granted_ = std::move(granted);
  holder_.SetPeer(std::move(peer));
  open_ = Reserve(ClientMemory::Stream().bytes);
  read_waits_ = !open_;
  if (open_) holder_.Open(ClientMemory::Stream());
  return open_;
}

bool IoStreamMemory::Arrived(size_t bytes) {
  if (bytes > ClientMemory::kLargeMessageBytes) {
    taken_in_bytes_ = 2 * bytes;
    SetHeld();
    return true;
  }
  message_bytes_ = bytes;
  message_waits_ = true;
  return TakeMessage();
}

bool IoStreamMemory::TakeGrant() {
  const bool granted = holder_.Reserve(asked_bytes_);
  if (!open_) {
    open_ = granted;
    if (open_) holder_.Open(ClientMemory::Stream());
    return false;
  }
  if (granted) granted_bytes_ = asked_bytes_;
  return TakeMessage();
}

bool IoStreamMemory::TakeMessage() {
  // Operations that came before it go first.
  const size_t before = session_.NextResultBytes(Lane::kPrompt);
  const bool is_theirs = before > 0 && granted_bytes_ >= before;
  if (!message_waits_ || is_theirs || !Reserve(message_bytes_)) return false;
  message_waits_ = false;
  taken_in_bytes_ = message_bytes_;
  SetHeld();
  return true;
}

bool IoStreamMemory::TakeNextRead() {
  if (!read_waits_ || holder_.asking() || granted_bytes_ > 0 ||
      session_.ended()) {
    return false;
  }
  read_waits_ = false;
  return true;
}

bool IoStreamMemory::MayBegin(Lane lane) {
  const size_t bytes = session_.NextResultBytes(lane);
  if (bytes == 0) return true;
  if (!Reserve(bytes)) return false;
  if (message_waits_) AskForMessage();
  return true;
}

bool IoStreamMemory::Reserve(size_t bytes) {
  if (granted_bytes_ > 0 && granted_bytes_ >= bytes) {
    granted_bytes_ = 0;
    return true;
  }
  if (holder_.asking()) return false;
  if (holder_.Reserve(bytes)) return true;
  Ask(bytes);
  return false;
}

void IoStreamMemory::Ask(size_t bytes) {
  asked_bytes_ = bytes;
  holder_.Ask(bytes, granted_);
}

void IoStreamMemory::AskForMessage() {
  if (!holder_.asking() && !session_.ended()) Ask(message_bytes_);
}

}  // namespace ramvol::service
