#include "server/engine/volume/volume_core.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/duration_text.h"
#include "base/event_log.h"
#include "base/reason.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/frame.h"
#include "server/engine/counters/read_clock.h"
#include "server/engine/types/blocks.h"
#include "server/engine/volume/description.h"

namespace ramvol::engine {
namespace {

// Index of a kMalloc volume for each chunk: a packed map with 16 slots, and its
// share of the leaf and the nodes above.
constexpr uint64_t kIndexBytesPerChunk = 192;
// What a write takes while old and new content exist together.
constexpr uint64_t kReservationSlackBytes = 1 << 20;
// Most attached clients that an error names.
constexpr size_t kMaxNamedHolders = 8;

// "nbd 127.0.0.1:40112 since 2026-11-29T03:12:50Z".
void AppendHolder(std::string* out, const Holder& holder) {
  absl::StrAppend(out, holder.over, " ", holder.from, " since ",
                  absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", holder.since,
                                   absl::UTCTimeZone()));
}

// Writers are held up for its lifetime, which it records.
class Pause {
 public:
  explicit Pause(Totals& totals)
      : pauses_(totals.pauses), began_ns_(SteadyNowNs()) {}
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;
  ~Pause() { pauses_.Record(SteadyNowNs() - began_ns_); }

 private:
  DurationHistogram& pauses_;
  const int64_t began_ns_;
};

}  // namespace

VolumeCore::VolumeCore(const EngineParts& engine, const VolumeOptions& options,
                       uint64_t uid, std::unique_ptr<HeldRecord> record)
    : engine_(engine),
      name_(options.name),
      is_snapshot_(options.name[0] == '@'),
      uid_(uid),
      options_(options),
      read_only_(options.read_only),
      memory_limit_bytes_(options.memory_limit_bytes),
      packing_(std::make_shared<PackingPolicy>(options)),
      counters_(std::make_shared<VolumeCounters>(engine.totals)),
      record_(std::move(record)),
      content_(NewLayer(), engine.hot, record_->get()),
      parts_{engine, *packing_, content_, *counters_, &loader_},
      leaf_work_(engine, content_),
      reclaimer_(engine),
      reader_(parts_, reclaimer_),
      piece_writer_(parts_, reclaimer_),
      writer_(parts_, piece_writer_),
      trimmer_(parts_, piece_writer_),
      encoded_reader_(parts_),
      encoded_writer_(parts_, piece_writer_, reclaimer_),
      loader_(parts_, encoded_writer_, reclaimer_) {}

static_assert(sizeof(VolumeCore) + sizeof(VolumeCounters) + sizeof(Layer) <=
              VolumeCore::kFixedBytes);

VolumeCore::~VolumeCore() {
  if (record_->listed()) content_.Leave();
  engine_.arena.Unreserve(fixed_bytes_);
}

std::shared_ptr<Layer> VolumeCore::NewLayer() const {
  return std::make_shared<Layer>(
      engine_.arena, memory_limit_bytes_.load(std::memory_order_relaxed),
      packing_, counters_);
}

uint64_t VolumeCore::ReservationFor(uint64_t size_bytes) const {
  if (!packing_->reserves()) return 0;
  const uint64_t chunks = (size_bytes - 1) / kChunkBytes + 1;
  return chunks * (kChunkBytes + kIndexBytesPerChunk) + kReservationSlackBytes;
}

absl::Status VolumeCore::Reserve() {
  const uint64_t bytes = ReservationFor(size_bytes());
  const std::shared_ptr<Layer> layer = content_.layer();
  reclaimer_.PrepareToReserve(*layer, bytes + kFixedBytes);
  if (engine_.arena.Reserve(kFixedBytes, Priority::kNormal)) {
    fixed_bytes_ = kFixedBytes;
    if (bytes == 0 || layer->account.GrowReservation(bytes)) {
      return absl::OkStatus();
    }
  }
  const std::string why = absl::StrCat(
      "volume \"", name(), "\" of ", size_bytes(), " bytes needs ",
      bytes + kFixedBytes, " bytes of memory at once, but ",
      engine_.arena.used_bytes(), " bytes of the server's limit of ",
      engine_.arena.limit_bytes(), " are in use; delete others",
      bytes == 0 ? "" : ", make it smaller, or use ZSTD or SPARSE");
  LogEvent(
      Event::kNoSpace,
      {.volume = name(), .reason = reason::kServerMemoryLimit, .message = why});
  return WithReason(absl::ResourceExhaustedError(why),
                    reason::kServerMemoryLimit);
}

// --- What outlives the process ---

void VolumeCore::Recover(Recovery& recovery) {
  const std::shared_ptr<Layer> layer = content_.layer();
  // All of this fitted before.
  engine_.arena.Reserve(kFixedBytes, Priority::kGuaranteed);
  fixed_bytes_ = kFixedBytes;
  const uint64_t bytes = ReservationFor(size_bytes());
  if (bytes > 0) layer->account.GrowReservation(bytes, Priority::kGuaranteed);
  auto shared = std::make_shared<Layer>(engine_.arena, 0, packing_, counters_);
  content_.Recover(recovery, shared);
}

void VolumeCore::EndShrink() {
  if (!is_snapshot()) trimmer_.CutOffRest(size_bytes());
}

void VolumeCore::Seal(Recovery& recovery, const Tree& tree) {
  damaged_ = true;
  auto shared = std::make_shared<Layer>(engine_.arena, 0, packing_, counters_);
  content_.Seal(recovery, tree, shared);
}

void VolumeCore::Condemn() {
  damaged_ = true;
  StripedWriterLock lock(&content_.lock());
  content_.CloseLocked();
}

std::string VolumeCore::DescriptionText() const {
  return Format({options(), uid_, attributes()});
}

absl::Status VolumeCore::Describe(std::string attributes) {
  MutexLock lock(&describe_mu_);
  attributes_.Set(std::move(attributes));
  if (record_->Describe(DescriptionText())) return absl::OkStatus();
  return Refuse({Cause::kServerLimit}, {"description"});
}

void VolumeCore::DescribeLocked() {
  TextPiece* text = record_->NewText(DescriptionText());
  record_->Describe(&text);
  record_->FreeText(text);
}

void VolumeCore::SetAttributes(std::string attributes) {
  MutexLock lock(&describe_mu_);
  attributes_.Set(std::move(attributes));
  DescribeLocked();
}

void VolumeCore::Rename(std::string name,
                        std::optional<std::string> attributes) {
  MutexLock lock(&describe_mu_);
  name_.Set(std::move(name));
  if (attributes.has_value()) attributes_.Set(*std::move(attributes));
  DescribeLocked();
}

// --- Requests ---

Refusal VolumeCore::CheckRange(const Request& request) const {
  if (content_.closed()) return {Cause::kDeleted};
  const uint64_t size = size_bytes();
  if (request.length <= size && request.offset <= size - request.length) {
    return Refusal();
  }
  return {Cause::kPastEnd};
}

Refusal VolumeCore::CheckChange(const Request& request) const {
  const Refusal refusal = CheckRange(request);
  if (!refusal.ok()) return refusal;
  if (is_snapshot()) return {Cause::kSnapshot};
  return read_only() ? Refusal{Cause::kReadOnly} : Refusal();
}

absl::Status VolumeCore::End(Operation operation, const Request& request,
                             int64_t took_ns, uint64_t counted_bytes,
                             const Refusal& refusal) {
  counters_->CountOperation(operation, took_ns, counted_bytes, refusal.cause);
  return refusal.ok() ? absl::OkStatus() : Refuse(refusal, request);
}

absl::Status VolumeCore::Explain(const Refusal& refusal,
                                 const Request& request) const {
  const bool at_limit = refusal.cause == Cause::kServerLimit ||
                        refusal.cause == Cause::kVolumeLimit;
  const std::shared_ptr<Layer> layer = at_limit ? content_.layer() : nullptr;
  const Refusal shown = damaged_ && refusal.cause == Cause::kDeleted
                            ? Refusal{Cause::kDamaged}
                            : refusal;
  return engine::Explain(shown, request, name(), size_bytes(),
                         at_limit ? &layer->account : nullptr);
}

absl::Status VolumeCore::Refuse(const Refusal& refusal,
                                const Request& request) const {
  absl::Status status = Explain(refusal, request);
  const bool no_space = refusal.cause == Cause::kServerLimit ||
                        refusal.cause == Cause::kVolumeLimit;
  if (no_space || refusal.cause == Cause::kCorrupt ||
      refusal.cause == Cause::kUnread) {
    LogEvent(no_space ? Event::kNoSpace : Event::kDataLoss,
             {.volume = name(),
              .reason = ReasonOf(refusal.cause),
              .message = std::string(status.message()),
              .uid = uid_});
  }
  return status;
}

absl::Status VolumeCore::Read(uint64_t offset, absl::Span<char> out,
                              BufferOf whose) {
  ReadClock clock(out.size() <= Reader::kMaxSmallReadBytes);
  const Request request{"read", offset, out.size()};
  Refusal refusal = CheckRange(request);
  if (refusal.ok() && out.size() > kMaxTransferBytes) {
    refusal = {Cause::kTooLong};
  }
  if (refusal.ok()) refusal = reader_.Read(offset, out, &clock, whose);
  return End(Operation::kRead, request, clock.TookNs(), out.size(), refusal);
}

absl::Status VolumeCore::Write(uint64_t offset, absl::Span<const char> data,
                               BufferOf whose) {
  const int64_t began_ns = SteadyNowNs();
  const Request request{"write", offset, data.size()};
  Refusal refusal = CheckChange(request);
  if (refusal.ok() && data.size() > kMaxTransferBytes) {
    refusal = {Cause::kTooLong};
  }
  if (refusal.ok()) {
    loader_.LoadEnds(offset, data.size());
    refusal = writer_.Write(offset, data, whose);
  }
  reclaimer_.Throttle();
  return End(Operation::kWrite, request, SteadyNowNs() - began_ns, data.size(),
             refusal);
}

absl::Status VolumeCore::Trim(uint64_t offset, uint64_t length) {
  const int64_t began_ns = SteadyNowNs();
  const Request request{"trim", offset, length};
  Refusal refusal = CheckChange(request);
  if (refusal.ok()) {
    loader_.LoadEnds(offset, length);
    refusal = trimmer_.Zero(offset, length, Trimmer::Leave::kHoles);
  }
  return End(Operation::kTrim, request, SteadyNowNs() - began_ns, length,
             refusal);
}

absl::Status VolumeCore::WriteZeroes(uint64_t offset, uint64_t length,
                                     bool no_hole) {
  const int64_t began_ns = SteadyNowNs();
  const Request request{"write of zeroes", offset, length};
  Refusal refusal = CheckChange(request);
  if (refusal.ok()) {
    loader_.LoadEnds(offset, length);
    refusal = trimmer_.Zero(
        offset, length,
        no_hole ? Trimmer::Leave::kZeroes : Trimmer::Leave::kHoles);
  }
  return End(Operation::kWriteZeroes, request, SteadyNowNs() - began_ns, length,
             refusal);
}

absl::Status VolumeCore::Flush() {
  const int64_t began_ns = SteadyNowNs();
  Refusal refusal;
  if (content_.closed()) refusal = {Cause::kDeleted};
  return End(Operation::kFlush, {"flush"}, SteadyNowNs() - began_ns, 0,
             refusal);
}

absl::StatusOr<Extents> VolumeCore::GetExtents(uint64_t offset, uint64_t length,
                                               size_t max_extents) {
  const int64_t began_ns = SteadyNowNs();
  const Request request{"extents query", offset, length};
  Extents extents;
  Refusal refusal = CheckRange(request);
  if (refusal.ok()) {
    refusal = reader_.FindExtents(offset, length, max_extents, &extents);
  }
  absl::Status status =
      End(Operation::kExtents, request, SteadyNowNs() - began_ns, 0, refusal);
  if (!status.ok()) return status;
  return extents;
}

absl::Status VolumeCore::ReadEncoded(uint64_t chunk, EncodedForm form,
                                     EncodedChunk* out) {
  const int64_t began_ns = SteadyNowNs();
  const uint64_t offset = chunk * kChunkBytes;
  const Request request{"read", offset,
                        std::min(kChunkBytes, size_bytes() - offset)};
  Refusal refusal = CheckRange(request);
  if (refusal.ok()) refusal = encoded_reader_.Read(chunk, form, out);
  return End(Operation::kRead, request, SteadyNowNs() - began_ns,
             request.length, refusal);
}

absl::Status VolumeCore::WriteEncoded(absl::Span<EncodedChunk> chunks) {
  if (chunks.empty()) return absl::OkStatus();
  const int64_t began_ns = SteadyNowNs();
  const Request request{"write", chunks[0].chunk * kChunkBytes,
                        std::min(chunks.size() * kChunkBytes, size_bytes())};
  Refusal refusal = CheckChange({"write", 0, 0});
  if (refusal.ok()) {
    for (const EncodedChunk& chunk : chunks) {
      // What stays the same is shared.
      if (chunk.keeps_same && loader_.active()) {
        loader_.Load(chunk.chunk).Ignore();
      }
    }
    refusal = encoded_writer_.Write(chunks);
  }
  if (refusal.cause == Cause::kCorrupt) {
    return WithReason(
        absl::InvalidArgumentError(absl::StrCat(
            "the encoded chunk at offset ", refusal.chunk * kChunkBytes,
            " is damaged: its frames do not hold its blocks")),
        reason::kDamagedImage);
  }
  return End(Operation::kWrite, request, SteadyNowNs() - began_ns,
             request.length, refusal);
}

absl::Status VolumeCore::AddOutside(uint32_t image,
                                    absl::Span<const OutsideChunk> chunks) {
  Refusal refusal = CheckChange({"write", 0, 0});
  if (refusal.ok()) refusal = loader_.Add(image, chunks);
  if (refusal.ok()) return absl::OkStatus();
  return Refuse(refusal, {"write", 0, chunks.size() * kChunkBytes});
}

// --- Clients ---

absl::StatusOr<Holders::Id> VolumeCore::Attach(Holder holder,
                                               bool if_unattached) {
  const Holder entered = holder;
  auto id = Enter(std::move(holder), if_unattached);
  if (id.ok()) {
    LogEvent(Event::kAttached, {.volume = name(),
                                .client = entered.from,
                                .over = entered.over,
                                .uid = uid_});
  }
  return id;
}

void VolumeCore::Detach(Holders::Id id) {
  const Holder holder = holders_.Remove(id);
  LogEvent(Event::kDetached,
           {.volume = name(),
            .client = holder.from,
            .over = holder.over,
            .message = absl::StrCat("after ",
                                    DurationText(absl::Now() - holder.since)),
            .uid = uid_});
}

absl::StatusOr<Holders::Id> VolumeCore::Enter(Holder holder,
                                              bool if_unattached) {
  StripedReaderLock lock(&content_.lock());
  if (content_.closed()) return Deleted();
  if (!if_unattached) return holders_.Add(std::move(holder));
  Holders::Id id = 0;
  // The other client may detach between the two calls. Then try again.
  while (!holders_.AddFirst(holder, &id)) {
    absl::Status attached = CheckUnattached();
    if (!attached.ok()) return attached;
  }
  return id;
}

absl::Status VolumeCore::CheckUnattached() const {
  const auto [holders, count] = holders_.List(kMaxNamedHolders);
  if (count == 0) return absl::OkStatus();
  std::string named = absl::StrJoin(holders, ", ", AppendHolder);
  if (count > holders.size()) {
    absl::StrAppend(&named, " and ", count - holders.size(), " more");
  }
  return WithReason(absl::FailedPreconditionError(absl::StrCat(
                        "volume \"", name(), "\" is attached by ", count,
                        count == 1 ? " client" : " clients", " (", named,
                        "); detach first, or force it")),
                    reason::kVolumeAttached);
}

// --- Changes of the volume itself ---

absl::Status VolumeCore::Delete(bool force) {
  MutexLock update_lock(&update_mu_);
  if (damaged_ && record_->listed()) {
    record_->Unlist();
    content_.FreeSealed();
    return absl::OkStatus();
  }
  {
    StripedWriterLock lock(&content_.lock());
    // A condemned one was closed from the beginning.
    if (content_.closed() && fixed_bytes_ == 0) return Deleted();
    if (!force) {
      absl::Status unattached = CheckUnattached();
      if (!unattached.ok()) return unattached;
    }
    content_.CloseLocked();
  }
  record_->Unlist();
  // Closed: new requests are refused and do not wait for this.
  content_.Clear(0, kMaxVolumeBytes / kChunkBytes);
  content_.layer()->account.ShrinkReservation(ReservationFor(size_bytes()));
  engine_.arena.Unreserve(std::exchange(fixed_bytes_, 0));
  return absl::OkStatus();
}

absl::StatusOr<VolumeOptions> VolumeCore::Updated(
    const VolumeUpdate& update) const {
  VolumeOptions wanted = options();
  if (update.size_bytes) wanted.size_bytes = *update.size_bytes;
  if (update.write_level) wanted.write_level = *update.write_level;
  if (update.merge_level) wanted.merge_level = *update.merge_level;
  if (update.memory_limit_bytes) {
    wanted.memory_limit_bytes = *update.memory_limit_bytes;
  }
  if (update.read_only) wanted.read_only = *update.read_only;
  absl::Status valid = wanted.Validate();
  if (!valid.ok()) return valid;
  return wanted;
}

absl::Status VolumeCore::Update(const VolumeUpdate& update) {
  MutexLock update_lock(&update_mu_);
  if (content_.closed()) return Deleted();
  if (is_snapshot()) return Explain({Cause::kSnapshot}, {"update"});
  const absl::StatusOr<VolumeOptions> wanted = Updated(update);
  if (!wanted.ok()) return wanted.status();
  if (update.if_unattached) {
    absl::Status unattached = CheckUnattached();
    if (!unattached.ok()) return unattached;
  }
  const uint64_t old_bytes = size_bytes();
  const uint64_t new_bytes = wanted->size_bytes;
  if (new_bytes < old_bytes && new_bytes % kBlockBytes != 0) {
    // The rest of its last block becomes zeroes, which cannot be said of one
    // that is outside. If that cannot be had now, a later server may have it.
    const Refusal lost = loader_.Load(new_bytes / kChunkBytes);
    if (!lost.ok()) {
      return Refuse(lost, {"shrinking", new_bytes, old_bytes - new_bytes});
    }
  }
  // Reserve memory before the size grows, so that writes to the new part have
  // it.
  absl::Status reserved = ReserveGrowth(old_bytes, new_bytes);
  if (!reserved.ok()) return reserved;
  absl::Status changed = Change(*wanted, update);
  const uint64_t kept_bytes = changed.ok() ? new_bytes : old_bytes;
  if (kept_bytes < old_bytes) {
    loader_.LoadEnds(kept_bytes, old_bytes - kept_bytes);
    trimmer_.CutOff(kept_bytes, old_bytes);
  }
  content_.layer()->account.ShrinkReservation(
      ReservationFor(std::max(old_bytes, new_bytes)) -
      ReservationFor(kept_bytes));
  return changed;
}

absl::Status VolumeCore::ReserveGrowth(uint64_t from_bytes, uint64_t to_bytes) {
  const uint64_t before = ReservationFor(from_bytes);
  const uint64_t after = ReservationFor(to_bytes);
  if (after <= before) return absl::OkStatus();
  const std::shared_ptr<Layer> layer = content_.layer();
  reclaimer_.PrepareToReserve(*layer, after - before);
  if (layer->account.GrowReservation(after - before)) return absl::OkStatus();
  return Refuse(reclaimer_.OutOfMemory(*layer),
                {"growth", from_bytes, to_bytes - from_bytes});
}

absl::Status VolumeCore::Change(const VolumeOptions& wanted,
                                const VolumeUpdate& update) {
  MutexLock describe_lock(&describe_mu_);
  VolumeOptions options = wanted;
  options.name = name();
  const std::string attributes = update.attributes.value_or(this->attributes());
  TextPiece* text = record_->NewText(Format({options, uid_, attributes}));
  absl::Status status;
  if (wanted.size_bytes == size_bytes()) {
    record_->Describe(&text);
  } else {
    StripedWriterLock lock(&content_.lock());
    if (update.if_unattached) status = CheckUnattached();
    if (status.ok()) content_.SetSizeLocked(wanted.size_bytes, &text);
  }
  record_->FreeText(text);
  if (!status.ok()) return status;
  attributes_.Set(attributes);
  packing_->SetLevels(wanted.write_level, wanted.merge_level);
  memory_limit_bytes_.store(wanted.memory_limit_bytes,
                            std::memory_order_relaxed);
  content_.layer()->account.set_limit_bytes(wanted.memory_limit_bytes);
  read_only_.store(wanted.read_only, std::memory_order_release);
  return status;
}

// --- Sharing ---

absl::StatusOr<std::shared_ptr<Layer>> VolumeCore::NextLayer() {
  std::shared_ptr<Layer> next = NewLayer();
  const uint64_t bytes = ReservationFor(size_bytes());
  if (bytes == 0) return next;
  reclaimer_.PrepareToReserve(*next, bytes);
  if (next->account.GrowReservation(bytes)) return next;
  return Refuse({Cause::kServerLimit}, {"snapshot", 0, size_bytes()});
}

void VolumeCore::EndLayer(Layer& layer) {
  layer.account.set_limit_bytes(0);
  layer.account.EndReservation();
}

absl::Status VolumeCore::Snapshot(
    const std::vector<std::shared_ptr<VolumeCore>>& sources,
    const std::vector<std::shared_ptr<VolumeCore>>& snapshots,
    bool is_use) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  // By address, as all who lock several.
  std::vector<VolumeCore*> in_order;
  for (const auto& source : sources) in_order.push_back(source.get());
  std::sort(in_order.begin(), in_order.end());
  in_order.erase(std::unique(in_order.begin(), in_order.end()), in_order.end());
  for (VolumeCore* source : in_order) {
    if (is_use) source->copies_.fetch_add(1, std::memory_order_relaxed);
    source->update_mu_.Lock();
  }
  absl::Status status;
  std::vector<std::shared_ptr<Layer>> next;
  for (size_t i = 0; status.ok() && i < sources.size(); ++i) {
    auto layer = sources[i]->NextLayer();
    status = layer.status();
    if (status.ok() && sources[i]->content_.closed()) {
      status = sources[i]->Deleted();
    }
    if (status.ok()) next.push_back(*std::move(layer));
  }
  if (status.ok() && !in_order.empty()) {
    std::optional<Pause> pause(in_order[0]->engine_.totals);
    for (VolumeCore* source : in_order) {
      source->content_.whole_operations().Lock();
    }
    for (VolumeCore* source : in_order) source->content_.lock().Lock();
    for (size_t i = 0; i < sources.size(); ++i) {
      Content& from = sources[i]->content_;
      const Tree tree = from.ShareLocked(&next[i]);
      std::vector<Tree> nothing;
      // Nobody else knows the snapshot yet.
      snapshots[i]->content_.BecomeLocked(tree, from.size_bytes(), &nothing);
    }
    for (VolumeCore* source : in_order) {
      source->content_.lock().Unlock();
      source->content_.whole_operations().Unlock();
    }
    pause.reset();
    for (const std::shared_ptr<Layer>& ended : next) EndLayer(*ended);
  }
  for (VolumeCore* source : in_order) source->update_mu_.Unlock();
  return status;
}

absl::Status VolumeCore::CopyFrom(VolumeCore& source)
    ABSL_NO_THREAD_SAFETY_ANALYSIS {
  source.copies_.fetch_add(1, std::memory_order_relaxed);
  MutexLock source_lock(&source.update_mu_);
  if (source.content_.closed()) return source.Deleted();
  if (source.size_bytes() > size_bytes()) {
    return InvalidField(
        "size_bytes",
        absl::StrCat("size_bytes is ", size_bytes(), ", less than the ",
                     source.size_bytes(), " bytes of the source \"",
                     source.name(),
                     "\"; leave it out, or shrink the clone later"));
  }
  std::shared_ptr<Layer> layer;
  if (!source.is_snapshot()) {
    auto next = source.NextLayer();
    if (!next.ok()) return next.status();
    layer = *std::move(next);
  }
  Tree tree;
  {
    const Pause pause(engine_.totals);
    StripedWriterLock whole(&source.content_.whole_operations());
    StripedWriterLock lock(&source.content_.lock());
    tree = layer == nullptr ? source.content_.ShareLocked()
                            : source.content_.ShareLocked(&layer);
  }
  if (layer != nullptr) EndLayer(*layer);
  // Nobody else knows this volume yet.
  std::vector<Tree> nothing;
  StripedWriterLock lock(&content_.lock());
  content_.BecomeLocked(tree, size_bytes(), &nothing);
  return absl::OkStatus();
}

absl::Status VolumeCore::Revert(VolumeCore& snapshot, bool force,
                                std::optional<std::string> attributes)
    ABSL_NO_THREAD_SAFETY_ANALYSIS {
  copies_.fetch_add(1, std::memory_order_relaxed);
  MutexLock one_lock(std::less<>()(this, &snapshot) ? &update_mu_
                                                    : &snapshot.update_mu_);
  MutexLock two_lock(std::less<>()(this, &snapshot) ? &snapshot.update_mu_
                                                    : &update_mu_);
  if (content_.closed()) return Deleted();
  if (snapshot.content_.closed()) return snapshot.Deleted();
  if (read_only()) return Explain({Cause::kReadOnly}, {"revert"});
  const std::shared_ptr<Layer> layer = content_.layer();
  const uint64_t before_bytes = ReservationFor(size_bytes());
  const uint64_t after_bytes = ReservationFor(snapshot.size_bytes());
  if (after_bytes > before_bytes &&
      !layer->account.GrowReservation(after_bytes - before_bytes)) {
    return Refuse({Cause::kServerLimit}, {"revert", 0, snapshot.size_bytes()});
  }
  std::vector<Tree> before;
  TextPiece* text = nullptr;
  absl::Status status;
  {
    const Pause pause(engine_.totals);
    StripedWriterLock whole(&content_.whole_operations());
    MutexLock describe_lock(&describe_mu_);
    if (attributes.has_value()) {
      text = record_->NewText(Format({options(), uid_, *attributes}));
    }
    // By address, as all who lock two of them.
    Content* const one = std::min(&content_, &snapshot.content_);
    Content* const two = std::max(&content_, &snapshot.content_);
    StripedWriterLock one_content(&one->lock());
    StripedWriterLock two_content(&two->lock());
    if (!force) status = CheckUnattached();
    if (status.ok()) {
      const Tree tree = snapshot.content_.ShareLocked();
      content_.BecomeLocked(tree, snapshot.size_bytes(), &text, &before);
      set_completeness(snapshot.completeness());
      if (attributes.has_value()) attributes_.Set(*std::move(attributes));
    }
  }
  record_->FreeText(text);
  content_.Release(before);
  const uint64_t kept = status.ok() ? after_bytes : before_bytes;
  const uint64_t reserved = std::max(before_bytes, after_bytes);
  if (reserved > kept) layer->account.ShrinkReservation(reserved - kept);
  return status;
}

absl::StatusOr<Changes> VolumeCore::GetChanges(const VolumeCore& since,
                                               uint64_t offset, uint64_t length,
                                               size_t max_ranges) {
  if (since.content_.closed()) return since.Deleted();
  const int64_t began_ns = SteadyNowNs();
  const Request request{"changes query", offset, length};
  Changes changes;
  const uint64_t end = offset + length;
  const auto add = [&](uint64_t from, uint64_t to) {
    from = std::max(from, offset);
    to = std::min(to, end);
    if (from >= to) return true;
    auto& ranges = changes.ranges;
    if (!ranges.empty() &&
        ranges.back().offset_bytes + ranges.back().length_bytes == from) {
      ranges.back().length_bytes += to - from;
    } else if (ranges.size() == max_ranges) {
      return false;
    } else {
      ranges.push_back({from, to - from});
    }
    return true;
  };
  changes.next_offset_bytes = end;
  const auto add_chunk = [&](uint64_t chunk, BlockMask blocks) {
    for (const int block : Bits(blocks)) {
      const uint64_t from = chunk * kChunkBytes + block * kBlockBytes;
      if (add(from, from + kBlockBytes)) continue;
      changes.next_offset_bytes = from;
      return false;
    }
    return true;
  };
  Refusal refusal = CheckRange(request);
  if (refusal.ok() && length > 0 && &since != this) {
    refusal = content_.Compare(since.content_, offset / kChunkBytes,
                               (end - 1) / kChunkBytes, add_chunk);
  }
  absl::Status status =
      End(Operation::kExtents, request, SteadyNowNs() - began_ns, 0, refusal);
  if (!status.ok()) return status;
  return changes;
}

// --- What others ask about it ---

VolumeOptions VolumeCore::options() const {
  VolumeOptions options = options_;
  options.name = name();
  options.size_bytes = size_bytes();
  options.write_level = packing_->write_level();
  options.merge_level = packing_->merge_level();
  options.memory_limit_bytes =
      memory_limit_bytes_.load(std::memory_order_relaxed);
  options.read_only = read_only();
  return options;
}

VolumeStats VolumeCore::Stats() const {
  VolumeStats stats;
  const Content::Usage usage = content_.Measure();
  const auto get = [&](Gauge gauge, int span = 0) {
    return static_cast<uint64_t>(
        usage.census[static_cast<Gauge>(static_cast<int>(gauge) + span)]);
  };
  stats.size_bytes = size_bytes();
  stats.compressed_blocks = get(Gauge::kCompressedBlocks);
  stats.raw_blocks = get(Gauge::kRawBlocks);
  stats.same_filled_blocks = get(Gauge::kSameFilledBlocks);
  stats.dirty_blocks = get(Gauge::kDirtyBlocks);
  stats.dead_bytes = get(Gauge::kDeadBytes);
  stats.hot_bytes = get(Gauge::kHotBlocks) * kBlockBytes;
  stats.dirty_bytes = stats.dirty_blocks * kBlockBytes;
  stats.stored_bytes = (stats.raw_blocks + stats.dirty_blocks) * kBlockBytes;
  for (int span = 0; span < kSpans; ++span) {
    stats.frames[span] = get(Gauge::kFrames0, span);
    stats.frame_bytes[span] = get(Gauge::kFrameBytes0, span);
    stats.stored_bytes += stats.frame_bytes[span];
  }
  stats.logical_bytes = (stats.compressed_blocks + stats.raw_blocks +
                         stats.same_filled_blocks + stats.dirty_blocks) *
                        kBlockBytes;
  const uint64_t fixed = FixedBytes();
  stats.memory_bytes = usage.memory_bytes + fixed;
  stats.own_bytes = usage.own_bytes + fixed;
  stats.shared_bytes = usage.memory_bytes - usage.own_bytes;
  stats.memory_limit_bytes =
      memory_limit_bytes_.load(std::memory_order_relaxed);
  counters_->FillIn(&stats);
  stats.attached_clients = static_cast<int>(holders_.size());
  return stats;
}

uint64_t VolumeCore::FixedBytes() const {
  return kFixedBytes + content_.layer()->account.UnusedReservation();
}

uint64_t VolumeCore::OwnBytes() const {
  return content_.OwnBytes() + FixedBytes();
}

VolumeUse VolumeCore::Use() const {
  return {.operations = counters_->uses(),
          .attachments = holders_.added(),
          .copies = copies_.load(std::memory_order_relaxed),
          .attached = holders_.size() > 0};
}

bool VolumeCore::CorruptForTest(uint64_t offset) {
  const int block = static_cast<int>(offset % kChunkBytes / kBlockBytes);
  ChunkRefs refs(engine_.arena);
  if (!content_.Take(offset / kChunkBytes, 0, BlockBit(block), &refs).ok()) {
    return false;
  }
  Frame* frame = refs.slot(block).frame();
  if (frame == nullptr) return false;
  char* byte = frame->page_count() > 0
                   ? engine_.arena.PageData(frame->pages()[0]) + 100
                   : const_cast<char*>(frame->tail()) + frame->stored / 2;
  *byte ^= 0x10;
  return true;
}

}  // namespace ramvol::engine
