#include "server/service/io_stream.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/peer.h"
#include "base/reason.h"
#include "grpcpp/server_context.h"
#include "proto/status.h"
#include "server/access/authority.h"
#include "server/access/role.h"
#include "server/service/block_operations.h"
#include "server/service/call_gate.h"
#include "server/service/io_wire.h"
#include "server/service/limits.h"
#include "server/service/peer_text.h"
#include "server/service/send_away.h"
#include "server/service/uid.h"

namespace ramvol::service {
namespace {

constexpr std::array<Lane, kLanes> kAllLanes = {Lane::kPrompt, Lane::kMayWait};

// How long results wait for those of the small operations that follow.
constexpr int64_t kMaxAnswerDelayNs = 50'000;
// Waking one more thread pays off for about so many bytes of reads or writes.
constexpr size_t kCostPerRunnerBytes = 256 << 10;

// See IoRequest.uid.
absl::StatusOr<std::shared_ptr<engine::Volume>> FindVolume(
    const engine::Engine& engine, const std::string& name,
    const std::string& uid) {
  if (const auto number = ParseUid(uid)) {
    if (auto volume = engine.FindUid(*number)) return volume;
  }
  return engine.Find(name);
}

size_t Index(Lane lane) { return static_cast<size_t>(lane); }

std::unique_ptr<v1::IoResult> FailedResult(const v1::IoOperation& operation,
                                           const absl::Status& error) {
  auto result = std::make_unique<v1::IoResult>();
  result->set_id(operation.id());
  *result->mutable_error() = ToRpcStatus(error);
  return result;
}

// Counts an operation that succeeded.
void Count(const v1::IoOperation& operation,
           const engine::Attachment& attachment) {
  const auto bytes = static_cast<uint64_t>(DataBytes(operation));
  if (operation.has_read()) attachment.CountRead(bytes);
  if (operation.has_write()) attachment.CountWrite(bytes);
}

}  // namespace

// Opens its stream when the last of those that hold it lets go: the streams
// that are replaced, and the one who tells them.
class IoStream::OpenLater {
 public:
  explicit OpenLater(std::shared_ptr<IoStream> stream)
      : stream_(std::move(stream)) {}
  OpenLater(const OpenLater&) = delete;
  OpenLater& operator=(const OpenLater&) = delete;
  // NOLINTNEXTLINE(bugprone-exception-escape): only lack of memory throws.
  ~OpenLater() { stream_->Open(); }

 private:
  const std::shared_ptr<IoStream> stream_;
};

IoStream::IoStream(engine::Engine* engine, Executor* executor, IoStreamSet* set,
                   const CallAccess* access,
                   grpc::CallbackServerContext* context)
    : engine_(engine),
      executor_(executor),
      set_(set),
      access_(access),
      context_(context),
      memory_(set->memory(), this, &session_),
      usage_(&session_) {}

void IoStream::Start() {
  bool read = false;
  {
    MutexLock lock(&mu_);
    read = memory_.Open(PeerOf(context_->peer()), [self = weak_from_this()] {
      if (const auto stream = self.lock()) stream->Wake();
    });
  }
  if (read) StartRead(&incoming_);
}

void IoStream::OnReadDone(bool ok) {
  {
    MutexLock lock(&mu_);
    // While it waits it stays gRPC's, and nothing more is read.
    if (ok && !session_.ended() && !memory_.Arrived(incoming_.Length())) return;
  }
  TakeMessage(ok);
}

void IoStream::Wake() {
  {
    MutexLock lock(&mu_);
    if (finished_) return;
    // As a runner: once the stream has finished, the executor may be gone.
    ++runners_[Index(Lane::kPrompt)];
  }
  const bool queued = executor_->Submit(
      Lane::kPrompt, [self = shared_from_this()] { self->Resume(); });
  if (!queued) Resume();
}

void IoStream::Resume() {
  Next next;
  bool take = false;
  {
    MutexLock lock(&mu_);
    take = memory_.TakeGrant();
    next.read = memory_.TakeNextRead();
    DecideLocked(&next);
  }
  Act(next);
  if (take) TakeMessage(true);
  EndRunner(Lane::kPrompt);
}

void IoStream::Admitted(Lane lane) {
  Next next;
  {
    MutexLock lock(&mu_);
    if (finished_) return;
    usage_.Admitted(lane);
    // Results are left for those who have them.
    DecideLocked(&next, /*may_write=*/false);
  }
  Act(next);
}

bool IoStream::MayBeginLocked(Lane lane) {
  const bool has_turn =
      session_.UnlimitedWaiting(lane) > 0 || usage_.MayBegin(lane);
  return has_turn && memory_.MayBegin(lane);
}

std::unique_ptr<v1::IoOperation> IoStream::NextOperationLocked(Lane lane) {
  auto operation = session_.NextOperation(lane);
  if (operation != nullptr && IsLimited(*operation)) usage_.Began(lane);
  return operation;
}

std::function<void()> IoStream::SendAway() {
  return [self = weak_from_this()] {
    if (const auto stream = self.lock()) stream->EndNow(absl::OkStatus());
  };
}

void IoStream::EndNow(absl::Status why) {
  std::unique_ptr<EndableCall> call;
  {
    MutexLock lock(&mu_);
    if (finished_) return;
    if (why.ok()) why = ClientTooSlow(memory_.held_bytes());
    session_.Abandon(why);
    call = std::make_unique<EndableCall>(context_->c_call());
    ++runners_[Index(Lane::kPrompt)];
  }
  call->End(why);
  EndRunner(Lane::kPrompt);
}

void IoStream::TakeMessage(bool ok) {
  Next next;
  std::array<int, kLanes> run_here = {};
  absl::Status status;
  if (ok) status = DecodeRequest(&incoming_, &request_);
  {
    MutexLock lock(&mu_);
    if (finished_) return;
    EndOrReceiveLocked(ok, std::move(status));
    memory_.TakenIn(ok);
    usage_.Received();
    for (const Lane lane : kAllLanes) {
      run_here[Index(lane)] = RunHereLocked(lane);
      if (run_here[Index(lane)] > 0) ++runners_[Index(lane)];
    }
    next.read = memory_.TakeNextRead();
    DecideLocked(&next);
    next.replaced.swap(replaced_);
  }
  Act(next);
  for (const Lane lane : kAllLanes) {
    if (run_here[Index(lane)] > 0) RunTurn(lane, run_here[Index(lane)]);
  }
}

void IoStream::EndOrReceiveLocked(bool ok, absl::Status status) {
  if (!ok) {
    session_.End(absl::OkStatus());
  } else if (!session_.ended()) {
    if (status.ok()) status = ReceiveLocked();
    if (!status.ok()) session_.End(status);
  }
}

int IoStream::RunHereLocked(Lane lane) const {
  const auto small = static_cast<int>(session_.SmallOnesWaiting(lane));
  const bool here =
      runners_[Index(lane)] == 0 && !memory_.IsWaiting(lane) &&
      small * costs_[Index(lane)].ns() <= kMessageWorthHandingOverNs;
  return here ? small : 0;
}

absl::Status IoStream::ReceiveLocked() {
  absl::Status status = session_.Receive(&request_);
  if (status.ok() && attachment_ == nullptr) {
    status = EnterLocked();
    if (!status.ok()) session_.Abandon(status);
  }
  request_.Clear();
  return status;
}

absl::Status IoStream::EnterLocked() {
  auto volume = FindVolume(*engine_, session_.volume_name(), request_.uid());
  if (access_->on()) {
    // The volume may have another name by now than the client says.
    v1::IoRequest opened;
    opened.set_volume(session_.volume_name());
    absl::Status may =
        volume.ok() ? AllowLocked(*volume) : access_->Check(*context_, opened);
    if (may.ok()) {
      may = WithMetadata(volume.status(), "volume", session_.volume_name());
    }
    access_->Note(*context_, opened, may);
    if (!may.ok()) return may;
  }
  if (!volume.ok()) {
    return WithMetadata(volume.status(), "volume", session_.volume_name());
  }
  absl::Status limited = LimitLocked(**volume);
  if (!limited.ok()) return limited;
  auto attachment = set_->Attach(request_.client_id(), *std::move(volume),
                                 {"io", PeerText(context_->peer())},
                                 request_.if_unattached());
  if (!attachment.ok()) return attachment.status();
  attachment_ = *std::move(attachment);
  absl::Status named = set_->Name(this, request_.stream_id());
  if (!named.ok()) return named;
  replaced_ = set_->FindOthers(this, request_.replaces());
  if (replaced_.empty()) OpenLocked();
  return absl::OkStatus();
}

absl::Status IoStream::LimitLocked(const engine::Volume& volume) {
  UsageLimiters limiters(
      identity_ == nullptr ? nullptr : access_->LimiterOf(*identity_),
      volume.limiter());
  if (!limiters.Enter(UsageLimiter::Kind::kIoStream, &places_,
                      !set_->FindOthers(this, request_.replaces()).empty())) {
    return WithReason(
        absl::ResourceExhaustedError(absl::StrCat(
            "volume \"", session_.volume_name(),
            "\" has as many Io streams as its limits allow, or the client "
            "has; close some, or raise limits.io_streams")),
        reason::kTooManyStreams);
  }
  usage_.Begin(std::move(limiters), [self = weak_from_this()](Lane lane) {
    if (const auto stream = self.lock()) stream->Admitted(lane);
  });
  return absl::OkStatus();
}

absl::Status IoStream::AllowLocked(
    const std::shared_ptr<engine::Volume>& volume) {
  auto identity = access_->IdentityOf(*context_);
  if (!identity.ok()) return identity.status();
  static constexpr Need kRead = {"volume", access::Right::kRead, Names::kVolume,
                                 Absent::kEngine};
  const std::string name = volume->name();
  absl::Status status = access_->CheckName(*identity, kRead, name);
  if (absl::IsNotFound(status)) {
    // Of the name that the client knows.
    return WithMetadata(engine::Engine::NotFound(session_.volume_name()),
                        "volume", session_.volume_name());
  }
  if (!status.ok()) return status;
  identity_ = std::make_unique<const access::Identity>(*std::move(identity));
  // Whoever refers to a volume keeps it from expiring.
  const auto may = [access = access_, who = *identity_,
                    weak = std::weak_ptr<engine::Volume>(volume)](
                       access::Right right) {
    const auto volume = weak.lock();
    return volume == nullptr || access->Decide(who, right, volume->name()) ==
                                    access::Decision::kAllowed;
  };
  may_write_ = may(access::Right::kWrite);
  const access::Right right =
      may_write_ ? access::Right::kWrite : access::Right::kRead;
  session_entry_ = access_->sessions().Add(
      {[may, right] { return may(right); },
       [self = weak_from_this(), who = *identity_, right, name] {
         if (const auto stream = self.lock()) {
           stream->EndNow(access::DeniedError(who, right, name));
         }
       }});
  return absl::OkStatus();
}

absl::Status IoStream::MayRun(const v1::IoOperation& operation) const {
  const std::string& name = attachment_->volume().name();
  const bool writes = operation.has_write() || operation.has_trim() ||
                      operation.has_write_zeroes();
  if (writes && !may_write_) {
    return access::DeniedError(*identity_, access::Right::kWrite, name);
  }
  if (!operation.has_get_changed_extents()) return absl::OkStatus();
  return access_->CheckSince(*identity_,
                             operation.get_changed_extents().since());
}

void IoStream::OpenLocked() {
  const engine::Volume& volume = attachment_->volume();
  v1::IoOpened opened;
  opened.set_size_bytes(static_cast<int64_t>(volume.size_bytes()));
  opened.set_read_only(volume.read_only() || !may_write_);
  opened.set_uid(FormatUid(volume.uid()));
  session_.Open(std::move(opened));
}

void IoStream::Open() {
  Next next;
  {
    MutexLock lock(&mu_);
    if (finished_) return;
    OpenLocked();
    next = DecideLocked();
  }
  Act(next);
}

void IoStream::Replace(std::shared_ptr<const void> hold) {
  {
    MutexLock lock(&mu_);
    if (finished_) return;
    session_.Abandon(
        absl::CancelledError("another stream of the client replaces this one"));
    if (session_.running() > 0) holds_.push_back(std::move(hold));
    // As a runner, for it keeps the stream from finishing and so context_
    // there.
    ++runners_[Index(Lane::kPrompt)];
  }
  // The client may be unreachable: a message that is being written would
  // otherwise hold the stream, and its attachment, for long.
  context_->TryCancel();
  EndRunner(Lane::kPrompt);
}

IoStream::Next IoStream::DecideLocked() {
  Next next;
  DecideLocked(&next);
  return next;
}

void IoStream::DecideLocked(Next* next, bool may_write) {
  if (session_.abandoned()) usage_.Abandon();
  if (!holds_.empty() && session_.running() == 0) next->holds.swap(holds_);
  if (finished_) return;
  for (const Lane lane : kAllLanes) {
    next->runners[Index(lane)] = MoreRunnersLocked(lane);
    runners_[Index(lane)] += next->runners[Index(lane)];
  }
  if (may_write && !writing_) next->write = BeginWriteLocked();
  const bool at_rest =
      !writing_ && session_.Idle() && runners_ == std::array<int, kLanes>{};
  if (at_rest && session_.ended()) {
    finished_ = true;
    next->finish = true;
    memory_.Withdraw();
  }
  memory_.Settle();
}

bool IoStream::BeginWriteLocked() {
  const size_t held = session_.held_bytes();
  writing_ = session_.NextMessage(&response_);
  if (!writing_) return false;
  memory_.Sending(held - session_.held_bytes());
  return true;
}

int IoStream::MoreRunnersLocked(Lane lane) {
  const size_t cost = session_.WaitingCostBytes(lane, !usage_.IsWaiting(lane));
  if (cost == 0 || memory_.IsWaiting(lane)) return 0;
  const size_t most = static_cast<size_t>(
      std::min(executor_->lane_threads(), kMaxStreamRunners));
  const size_t wanted = std::clamp<size_t>(cost / kCostPerRunnerBytes, 1, most);
  return std::max(0, static_cast<int>(wanted) - runners_[Index(lane)]);
}

void IoStream::Act(Next& next) {
  // Nothing of this object may be touched after Finish, nor after the last
  // thing done here: hence a reference.
  const std::shared_ptr<IoStream> self = shared_from_this();
  if (next.read) StartRead(&incoming_);
  if (next.write) {
    outgoing_ = EncodeResponse(&response_);
    // What was answered is freed now, not when the next answer comes.
    v1::IoResponse().Swap(&response_);
    // Done is what the socket has taken.
    StartWrite(&outgoing_, grpc::WriteOptions().set_write_through());
  }
  for (const Lane lane : kAllLanes) {
    for (int i = 0; i < next.runners[Index(lane)]; ++i) StartRunner(lane);
  }
  if (next.finish) {
    absl::Status status;
    {
      MutexLock lock(&mu_);
      status = session_.end_status();
    }
    // Whoever sees the stream's end can delete the volume.
    attachment_.reset();
    places_ = {};
    Finish(ToGrpcStatus(status));
  }
  if (!next.replaced.empty()) {
    const auto open_later = std::make_shared<OpenLater>(self);
    for (const auto& stream : next.replaced) stream->Replace(open_later);
  }
  next.holds.clear();
}

void IoStream::StartRunner(Lane lane) {
  const bool queued =
      executor_->Submit(lane, [self = shared_from_this(), lane] {
        self->RunTurn(lane, kMaxOperationsPerTurn);
      });
  if (queued) return;
  {
    MutexLock lock(&mu_);
    session_.FailWaiting(
        lane, absl::UnavailableError("the server has too much to do; try again "
                                     "later"));
  }
  EndRunner(lane);
}

void IoStream::RunTurn(Lane lane, int most) {
  CostEstimate& cost = costs_[Index(lane)];
  std::unique_ptr<v1::IoResult> result;
  int64_t now_ns = SteadyNowNs();
  int64_t answered_ns = now_ns;
  for (int n = 0;; ++n) {
    std::unique_ptr<v1::IoOperation> operation;
    bool small = false;
    Next next;
    {
      MutexLock lock(&mu_);
      if (result != nullptr) session_.Complete(std::move(result));
      if (n < most && MayBeginLocked(lane)) {
        operation = NextOperationLocked(lane);
        next.read = memory_.TakeNextRead();
      }
      small = operation != nullptr && IsSmall(*operation);
      const bool gather = small && now_ns - answered_ns < kMaxAnswerDelayNs;
      if (!gather) answered_ns = now_ns;
      if (operation == nullptr) --runners_[Index(lane)];
      DecideLocked(&next, /*may_write=*/!gather);
    }
    Act(next);
    if (operation == nullptr) return;
    set_->CallHookForTest(*operation);
    const absl::Status may =
        identity_ == nullptr ? absl::OkStatus() : MayRun(*operation);
    result = may.ok()
                 ? RunOperation(attachment_->volume(), *engine_, *operation)
                 : FailedResult(*operation, may);
    if (!result->has_error()) Count(*operation, *attachment_);
    const int64_t began_ns = std::exchange(now_ns, SteadyNowNs());
    if (small) cost.Note(now_ns - began_ns);
  }
}

void IoStream::EndRunner(Lane lane) {
  Next next;
  {
    MutexLock lock(&mu_);
    next.read = memory_.TakeNextRead();
    --runners_[Index(lane)];
    DecideLocked(&next);
  }
  Act(next);
}

void IoStream::OnWriteDone(bool ok) {
  Next next;
  {
    MutexLock lock(&mu_);
    writing_ = false;
    outgoing_.Clear();
    memory_.Sent();
    if (!ok) session_.Abandon(absl::CancelledError("the client is gone"));
    next = DecideLocked();
  }
  Act(next);
}

void IoStream::OnCancel() {
  Next next;
  {
    MutexLock lock(&mu_);
    session_.Abandon(absl::CancelledError("the client is gone"));
    next = DecideLocked();
  }
  Act(next);
}

void IoStream::Drain() {
  Next next;
  {
    MutexLock lock(&mu_);
    session_.End(ShuttingDownError());
    next = DecideLocked();
  }
  Act(next);
}

void IoStream::OnDone() { set_->Remove(this); }

}  // namespace ramvol::service
