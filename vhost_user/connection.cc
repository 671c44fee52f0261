#include "vhost_user/connection.h"

#include <sys/socket.h>

#include <optional>
#include <utility>

#include "base/event_log.h"
#include "base/peer.h"
#include "base/peer_address.h"
#include "base/reason.h"
#include "vhost_user/channel.h"

namespace ramvol::vhost {
namespace {

constexpr char kOver[] = "vhost-user";
// The reason of what a front-end or a guest did wrong, as NBD has it.
constexpr char kBadRequest[] = "BAD_REQUEST";

}  // namespace

Connection::Connection(Descriptor socket, std::string name,
                       ClientMemory* memory)
    : socket_(std::move(socket)),
      name_(std::move(name)),
      address_(PeerAddress(socket_.get())),
      holder_(memory, this) {
  holder_.SetPeer(PeerOf(socket_.get()));
  holder_.Open();
}

void Connection::End() { shutdown(socket_.get(), SHUT_RDWR); }

void Connection::Unblock() {
  MutexLock lock(&mu_);
  if (session_ != nullptr) session_->Unblock();
}

std::function<void()> Connection::SendAway() {
  End();
  return nullptr;
}

void Connection::SetSize(uint64_t bytes) {
  MutexLock lock(&mu_);
  if (session_ != nullptr) session_->SetSize(bytes);
}

void Connection::Refuse(Descriptor socket, const std::string& name,
                        const absl::Status& why) {
  LogEvent(Event::kConnectionRefused, {.volume = name,
                                       .client = PeerAddress(socket.get()),
                                       .over = kOver,
                                       .reason = GetReason(why),
                                       .message = std::string(why.message())});
}

void Connection::LogEnd(const absl::Status& why) {
  const std::string reason = GetReason(why);
  LogEvent(Event::kConnectionEnded,
           {.volume = name_,
            .client = address_,
            .over = kOver,
            .reason = reason.empty() ? kBadRequest : reason,
            .message = std::string(why.message())});
}

std::unique_ptr<block::Exports> Connection::OwnOf(block::Exports& exports) {
  const auto end = [weak = weak_from_this()] {
    if (const auto open = weak.lock()) open->End();
  };
  return exports.For({.fd = socket_.get(),
                      .address = address_,
                      .proven = nullptr,
                      .end = end});
}

void Connection::Serve(block::Exports& exports, block::ThreadCache& threads,
                       VhostStats& stats) {
  const std::unique_ptr<block::Exports> own = OwnOf(exports);
  auto device = (own == nullptr ? exports : *own).Open(name_, address_);
  if (!device.ok()) {
    return LogEvent(Event::kConnectionRefused,
                    {.volume = name_,
                     .client = address_,
                     .over = kOver,
                     .reason = GetReason(device.status()),
                     .message = std::string(device.status().message())});
  }
  const auto info = exports.Find(name_);
  Session session(*std::move(device), {.id = info.ok() ? info->uid : "",
                                       .failed =
                                           [this](const absl::Status& why) {
                                             LogEnd(why);
                                             End();
                                           },
                                       .threads = threads,
                                       .stats = stats});
  {
    MutexLock lock(&mu_);
    session_ = &session;
  }
  // It may have changed before there was a session to tell.
  if (const auto now = exports.Find(name_); now.ok()) {
    session.SetSize(now->size_bytes);
  }
  Converse(session);
  session.Stop();
  MutexLock lock(&mu_);
  session_ = nullptr;
}

void Connection::Converse(Session& session) {
  for (;;) {
    auto message = Receive(socket_.get());
    if (!message.ok()) return LogEnd(message.status());
    if (!message->has_value()) return;
    Session::Outcome outcome = session.Handle(**std::move(message));
    if (outcome.reply.has_value() &&
        !Send(socket_.get(), *outcome.reply, /*wait=*/true)) {
      return;
    }
    if (!outcome.status.ok()) return LogEnd(outcome.status);
  }
}

}  // namespace ramvol::vhost
