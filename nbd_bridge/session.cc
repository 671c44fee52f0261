#include "nbd_bridge/session.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/event_log.h"
#include "nbd_bridge/error.h"
#include "nbd_bridge/reply.h"

namespace ramvol::nbd {
namespace {

// Requests of this size or more are long: another thread reads meanwhile.
constexpr uint64_t kLongBytes = uint64_t{128} << 10;
// Reads of this size or more ask first whether the range is a hole.
constexpr uint64_t kAskForHolesBytes = uint64_t{64} << 10;

// How long a client may take to leave after ESHUTDOWN. If the connection ended
// at once, a client that is sending would get an error and might not read its
// replies.
constexpr absl::Duration kGoodbyeTime = absl::Seconds(1);
// How often a thread that waits for room checks whether its connection has
// ended.
constexpr absl::Duration kLookInterval = absl::Seconds(1);

SessionTraits TraitsOf(const Negotiated& negotiated) {
  return {negotiated.style, negotiated.device->size_bytes(),
          negotiated.read_only, negotiated.contexts.size()};
}

static_assert(kMaxConnectionBytes >= block::BlockDevice::kMaxTransferBytes +
                                         RequestReader::kRequestBytes,
              "any request is let in when there is no other");
// One thread for each core, and one that reads. More would only wait for a
// core.
int MaxThreads() {
  static const int cores =
      static_cast<int>(std::thread::hardware_concurrency());
  return std::clamp(cores + 1, 2, kMaxConnectionThreads);
}

// The session that carries out a request on this thread.
thread_local const void* executing = nullptr;

// For synchronous devices, whose calls end before they return.
class Immediate final : public block::Completion {
 public:
  void Done(absl::Status status) override { ok_ = status.ok(); }
  bool ok() const { return ok_; }

 private:
  bool ok_ = false;
};

// Whether a large read covers only a hole, on a device that can tell at once.
bool IsAllHole(block::BlockDevice& device, Style style,
               const RequestHeader& header) {
  // Holes count for limits, too.
  if (header.length < kAskForHolesBytes || !device.synchronous() ||
      device.limited() || style == Style::kSimple ||
      (header.flags & kCmdDf) != 0) {
    return false;
  }
  std::vector<block::Extent> extents;
  Immediate asked;
  device.GetExtents(header.offset, header.length, /*max_extents=*/1, &extents,
                    &asked);
  return asked.ok() && extents[0].hole && extents[0].length == header.length;
}

}  // namespace

void Session::RoomTold::Tell() {
  MutexLock lock(&mu_);
  if (session_ == nullptr) return;
  MutexLock session_lock(&session_->mu_);
  session_->has_room_ = true;
  session_->wake_reader_.Signal();
}

void Session::RoomTold::Forget() {
  MutexLock lock(&mu_);
  session_ = nullptr;
}

Session::Session(Socket& socket, ClientMemory::Holder& holder,
                 Negotiated negotiated, const Parts& parts)
    : socket_(socket),
      holder_(holder),
      negotiated_(std::move(negotiated)),
      device_(*negotiated_.device),
      traits_(TraitsOf(negotiated_)),
      parts_(parts),
      reader_(socket, traits_, this),
      buffers_(socket, holder),
      sender_(socket, holder, buffers_, &mu_, this) {
  device_.MayAnswerLater();
}

void Session::Run() {
  RunThread(/*main=*/true);
  MutexLock lock(&mu_);
  // The reader's part was never given out.
  holder_.SetHeld(holder_.held_bytes() - reader_bytes_);
  buffers_.NoteProgress();
}

void Session::RunThread(bool main) {
  while (auto request = TakeRequest(main)) {
    if (device_.synchronous()) {
      Execute(std::move(request));
      continue;
    }
    device_.Together([&] {
      for (; request != nullptr; request = TakeWaiting()) {
        Execute(std::move(request));
      }
    });
  }
}

std::unique_ptr<Request> Session::TakeWaiting() {
  MutexLock lock(&mu_);
  if (waiting_.empty()) return nullptr;
  auto request = std::move(waiting_.front());
  waiting_.pop_front();
  return request;
}

std::unique_ptr<Request> Session::TakeRequest(bool main) {
  MutexLock lock(&mu_);
  for (;;) {
    if (!waiting_.empty()) {
      if (sender_.IsLate()) {
        SendLocked(/*may_wait=*/true);
        continue;
      }
      auto request = std::move(waiting_.front());
      waiting_.pop_front();
      GetHelpLocked(*request);
      return request;
    }
    if (sender_.IsDue()) {
      SendLocked(/*may_wait=*/true);
    } else if (!reading_ && !ended_) {
      ReadLocked();
    } else if (!main) {
      --helpers_;
      if (OverLocked()) wake_main_.Signal();
      return nullptr;
    } else if (OverLocked()) {
      return nullptr;
    } else {
      main_waits_ = true;
      wake_main_.Wait(&mu_);
      main_waits_ = false;
    }
  }
}

bool Session::OverLocked() const {
  return ended_ && unanswered_ == 0 && helpers_ == 0;
}

void Session::ReadLocked() {
  reading_ = true;
  // A request that waits for room has already arrived: do not receive more.
  const bool more =
      reader_.needed_bytes() == 0 ? ReceiveLocked() : WaitForRoomLocked();
  if (!more) AbandonLocked();
  if (!more || !ParseLocked()) {
    ended_ = true;
    wake_ending_.Signal();
    if (!reader_.violation().empty()) {
      LogEvent(Event::kConnectionEnded, {.volume = negotiated_.name,
                                         .client = socket_.Peer(),
                                         .over = "nbd",
                                         .reason = "BAD_REQUEST",
                                         .message = reader_.violation()});
    }
  }
  reading_ = false;
}

void Session::AbandonLocked() {
  // A server that stops reads no further, and answers what has arrived.
  if (parts_.draining.load(std::memory_order_relaxed)) return;
  mu_.Unlock();
  device_.Abandon();
  mu_.Lock();
}

bool Session::ReceiveLocked() {
  reader_.SetWide(buffers_.wide());
  // With requests under way, too: a thread that sends may widen the buffers.
  if (!ticks_ && (buffers_.wide() || unanswered_ != 0)) {
    ticks_ = true;
    socket_.SetIdleTime(kIdleTime);
  }
  const bool waits = reader_.in_payload();
  if (waits) holder_.WaitsForClient(true);
  mu_.Unlock();
  const RequestReader::Received received = reader_.Receive();
  mu_.Lock();
  if (waits) holder_.WaitsForClient(false);
  if (received == RequestReader::Received::kNothing) {
    RestLocked();
  } else {
    buffers_.NoteProgress();
    if (reader_.IsTight()) buffers_.Widen();
  }
  return received != RequestReader::Received::kEnd;
}

bool Session::ParseLocked() {
  for (;;) {
    Requests arrived;
    const size_t room = std::min(LeftLocked(), holder_.room_bytes());
    const RequestReader::Parsed parsed = reader_.Parse(room, &arrived);
    // Clients that connect again, such as the kernel's driver, send again what
    // was not answered. An error they would give to whoever asked.
    if (parts_.ignoring.load(std::memory_order_relaxed)) return false;
    AcceptLocked(std::move(arrived));
    if (parsed == RequestReader::Parsed::kEnd) return false;
    if (parsed == RequestReader::Parsed::kNeedsBytes ||
        !ReserveLocked(reader_.needed_bytes())) {
      return true;
    }
  }
}

size_t Session::LeftLocked() const {
  return kMaxConnectionBytes -
         std::min(kMaxConnectionBytes, holder_.held_bytes());
}

bool Session::ReserveLocked(size_t bytes) {
  if (holder_.asking() && !has_room_) return false;
  return bytes <= LeftLocked() && holder_.Reserve(bytes);
}

bool Session::WaitForRoomLocked() {
  while (!ReserveLocked(reader_.needed_bytes())) {
    if (lost_ || socket_.IsBroken()) return false;
    // Requests under way will make room by themselves, so the client memory is
    // asked only when there are none.
    if (unanswered_ == 0 && !holder_.asking()) {
      reader_.ForgetFreeSlabs();
      HoldLocked(0);
      has_room_ = false;
      holder_.Ask(reader_.needed_bytes(), [room = room_] { room->Tell(); });
      continue;
    }
    wake_reader_.WaitFor(&mu_, kLookInterval);
  }
  return true;
}

void Session::RestLocked() {
  if (unanswered_ != 0 || reader_.in_payload() || !buffers_.Narrow()) return;
  ticks_ = false;
  socket_.SetIdleTime(absl::ZeroDuration());
}

void Session::AcceptLocked(Requests arrived) {
  const int64_t now = SteadyNowNs();
  size_t bytes = 0;
  for (std::unique_ptr<Request>& request : arrived) {
    request->arrived_ns = now;
    parts_.stats.RequestBegan();
    ++unanswered_;
    bytes += request->charged_bytes;
    waiting_.push_back(std::move(request));
  }
  HoldLocked(bytes);
}

void Session::HoldLocked(size_t more) {
  const size_t others = holder_.held_bytes() - reader_bytes_;
  reader_bytes_ = reader_.held_bytes();
  holder_.SetHeld(others + reader_bytes_ + more);
}

void Session::GetHelpLocked(const Request& request) {
  if (!device_.synchronous()) return;
  const bool is_long = request.header.length >= kLongBytes;
  const bool must_read = is_long && !reading_ && !ended_;
  const auto others = static_cast<int64_t>(waiting_.size());
  if (must_read || estimate_.WorthWaking(others)) WakeThreadLocked();
}

void Session::WakeThreadLocked() {
  if (main_waits_) {
    main_waits_ = false;
    wake_main_.Signal();
    return;
  }
  if (helpers_ + 1 >= MaxThreads()) return;
  if (parts_.threads.Run([this] { RunThread(/*main=*/false); })) ++helpers_;
}

void Session::Execute(std::unique_ptr<Request> owned) {
  executing = this;
  Begin(std::move(owned));
  executing = nullptr;
}

void Session::Begin(std::unique_ptr<Request> owned) {
  Request& request = *owned.release();  // Finish owns it again.
  request.began_ns = SteadyNowNs();
  const RequestHeader& header = request.header;
  if (lost_.load(std::memory_order_relaxed) && !Changes(request.command())) {
    request.error = Error::kIo;  // The reply cannot be sent anyway.
  }
  if (request.error != Error::kNone) return Finish(&request, absl::OkStatus());
  switch (request.command()) {
    case Command::kRead:
    case Command::kCache:
      return ExecuteRead(request);
    case Command::kWrite:
      return device_.Write(header.offset, request.payload, &request);
    case Command::kFlush:
      return device_.Flush(&request);
    case Command::kTrim:
      return device_.Trim(header.offset, header.length, &request);
    case Command::kWriteZeroes:
      return device_.WriteZeroes(header.offset, header.length,
                                 (header.flags & kCmdNoHole) != 0, &request);
    case Command::kBlockStatus:
      // Pointers to its elements must stay.
      request.statuses.reserve(negotiated_.contexts.size());
      return ExecuteStatus(request);
    case Command::kDisconnect:
      break;  // Parse ended the connection.
  }
}

void Session::ExecuteStatus(Request& request) {
  const RequestHeader& header = request.header;
  const MetaContext& context = negotiated_.contexts[request.statuses.size()];
  ContextExtents& status = request.statuses.emplace_back();
  status.context = &context;
  if (context.snapshot.empty()) {
    return device_.GetExtents(header.offset, header.length, MaxExtents(header),
                              &status.extents, &request);
  }
  device_.GetChanges(context.snapshot_uid, header.offset, header.length,
                     MaxExtents(header), &status.extents, &request);
}

// NBD_CMD_CACHE is a read whose data is dropped, so that the engine's cache
// holds what a read would leave in it.
void Session::ExecuteRead(Request& request) {
  if (IsAllHole(device_, traits_.style, request.header)) {
    request.all_hole = true;
    return Finish(&request, absl::OkStatus());
  }
  request.buffer.reset(new char[request.header.length]);
  device_.Read(request.header.offset, request.buffer_span(), &request);
}

void Session::Finish(Request* finished, const absl::Status& status) {
  if (finished->command() == Command::kBlockStatus && status.ok() &&
      finished->error == Error::kNone &&
      finished->statuses.size() < negotiated_.contexts.size()) {
    return ExecuteStatus(*finished);
  }
  std::unique_ptr<Request> request(finished);
  request->ReleasePayload();
  if (!status.ok()) {
    request->error = ToNbdError(status, request->command());
    request->message = std::string(status.message());
  }
  if (request->command() == Command::kCache) request->buffer.reset();
  BuildReply(traits_.style, *request);

  const int64_t now = SteadyNowNs();
  parts_.stats.RequestEnded(KindOf(request->header.command),
                            KindOf(request->error), now - request->arrived_ns);
  // Else it had to wait, as limits have it, and nobody sends its reply yet.
  const bool at_once = device_.synchronous() && executing == this;
  if (at_once) estimate_.Note(now - request->began_ns);
  const bool last_words = request->error == Error::kShutdown;

  MutexLock lock(&mu_);
  if (last_words) EndSoonLocked();
  sender_.Add(std::move(request), now);
  if (at_once || sender_.sending()) return;
  // A thread that brings several results calls this again at once. Their
  // replies go together, unless they are many.
  const bool more = device_.MoreToCome();
  if (!more || sender_.IsFull()) SendLocked(/*may_wait=*/false);
}

void Session::EndSoonLocked() {
  if (ending_) return;
  ending_ = true;
  ++helpers_;
  const bool started = parts_.threads.Run([this] {
    const absl::Time deadline = absl::Now() + kGoodbyeTime;
    MutexLock lock(&mu_);
    while (!ended_ && absl::Now() < deadline) {
      wake_ending_.WaitFor(&mu_, deadline - absl::Now());
    }
    socket_.ShutdownReceiving();
    --helpers_;
    if (OverLocked()) wake_main_.Signal();
  });
  if (started) return;
  --helpers_;
  socket_.ShutdownReceiving();
}

void Session::SendLocked(bool may_wait) {
  sender_.Send(may_wait);
  if (OverLocked()) wake_main_.Signal();
}

bool Session::SendElsewhere() {
  ++helpers_;
  const bool started = parts_.threads.Run([this] {
    {
      MutexLock lock(&mu_);
      sender_.SendRest();
    }
    RunThread(/*main=*/false);
  });
  if (!started) --helpers_;
  return started;
}

void Session::WillWait() {
  if (!reading_ && !ended_) WakeThreadLocked();
}

void Session::Sent(size_t replies, size_t bytes) {
  unanswered_ -= replies;
  holder_.SetHeld(holder_.held_bytes() - bytes);
  wake_reader_.Signal();
}

void Session::Lost() { lost_.store(true, std::memory_order_relaxed); }

}  // namespace ramvol::nbd
