// What one Io stream holds of client memory, and what of it waits.
#ifndef RAMVOL_SERVER_SERVICE_IO_STREAM_MEMORY_H_
#define RAMVOL_SERVER_SERVICE_IO_STREAM_MEMORY_H_

#include <cstddef>
#include <functional>
#include <string>

#include "base/client_memory.h"
#include "server/service/executor.h"
#include "server/service/io_session.h"

namespace ramvol::service {

// Charges a stream for the message that has arrived, before it is decoded; for
// a read's result, before the read begins; for all that its session holds; and
// for the message that is being sent. What there is no memory for waits: reads
// first, then the message that arrived after them, one at a time. Until then
// the stream reads no further message.
//
// Not thread-safe: the stream's lock guards it.
class IoStreamMemory {
 public:
  // Borrows all; `client` is who is sent away.
  IoStreamMemory(ClientMemory* memory, ClientMemory::Client* client,
                 const IoSession* session)
      : session_(*session), holder_(memory, client) {}

  // Charges the stream itself, a client of the machine `peer` (see PeerOf).
  // True when its first message may be read; else that waits. Whenever
  // something waited and there is memory for it, `granted` is called, as
  // ClientMemory::Holder::Ask has it; TakeGrant has to follow.
  [[nodiscard]] bool Open(std::string peer, std::function<void()> granted);

  // A message of `bytes` has arrived. True when it may be taken in, for which
  // it is charged then; else it waits.
  [[nodiscard]] bool Arrived(size_t bytes);
  // Takes what was granted. True when it is the turn of the message that
  // waited, as if Arrived had said so.
  [[nodiscard]] bool TakeGrant();
  // The session holds what was in the message that was taken in. Another one
  // is to be read if `reads_on`.
  void TakenIn(bool reads_on) {
    taken_in_bytes_ = 0;
    read_waits_ = reads_on;
  }
  // True, once, when that may be read now.
  [[nodiscard]] bool TakeNextRead();

  // Whether the session's next operation of `lane`, if there is any, may begin;
  // else it waits.
  [[nodiscard]] bool MayBegin(Lane lane);
  // Something waits that the operations of `lane` have to wait for, too.
  bool IsWaiting(Lane lane) const {
    return lane == Lane::kPrompt && holder_.asking();
  }

  // A message of `bytes`, which the session held, waits for the client to take
  // it, until Sent.
  void Sending(size_t bytes) {
    sending_bytes_ = bytes;
    holder_.WaitsForClient(true);
  }
  void Sent() {
    sending_bytes_ = 0;
    holder_.WaitsForClient(false);
  }

  // Charges what is held now. Call it after each change of the session.
  void Settle() {
    const bool reads_wait = session_.NextResultBytes(Lane::kPrompt) > 0;
    if (!reads_wait) granted_bytes_ = 0;  // For what is gone.
    SetHeld();
    // None of them is left to ask for it.
    if (message_waits_ && !reads_wait) AskForMessage();
  }
  // Nothing waits any more; Settle has to follow.
  void Withdraw() { holder_.Withdraw(); }

  size_t held_bytes() const { return holder_.held_bytes(); }

 private:
  bool TakeMessage();
  // Whether there are `bytes`; else they are asked for, unless others are.
  bool Reserve(size_t bytes);
  void Ask(size_t bytes);
  void AskForMessage();
  void SetHeld() {
    holder_.SetHeld(session_.held_bytes() + taken_in_bytes_ + sending_bytes_ +
                    granted_bytes_);
  }

  const IoSession& session_;
  std::function<void()> granted_;
  bool open_ = false;
  // Of the message that waits, or was the last to arrive.
  size_t message_bytes_ = 0;
  bool message_waits_ = false;
  size_t taken_in_bytes_ = 0;
  bool read_waits_ = false;
  size_t sending_bytes_ = 0;
  // Asked for; granted, and not used yet.
  size_t asked_bytes_ = 0;
  size_t granted_bytes_ = 0;
  ClientMemory::Holder holder_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_IO_STREAM_MEMORY_H_
