#include "client/call_table.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/call.h"
#include "client/extent.h"

namespace ramvol {
namespace {

// What a call is charged beside its data. So calls without data are bounded,
// too.
constexpr int64_t kCallChargeBytes = 256;

void AppendExtents(std::vector<Extent>& all, const std::vector<Extent>& more) {
  for (const Extent& extent : more) {
    if (!all.empty() && all.back().hole == extent.hole &&
        all.back().offset + all.back().length == extent.offset) {
      all.back().length += extent.length;
    } else {
      all.push_back(extent);
    }
  }
}

// A length of 0 reaches to the volume's end.
int64_t RangeEnd(const Call& call, int64_t volume_size_bytes) {
  if (call.request.length == 0) return volume_size_bytes;
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  return call.request.length > kMax - call.request.offset
             ? kMax
             : call.request.offset + call.request.length;
}

}  // namespace

void Completion::Run() {
  // Parts that are still out keep the call alive. They must not keep alive what
  // the callback holds.
  const auto done = std::exchange(call->request.done, nullptr);
  const auto extents_done = std::exchange(call->request.extents_done, nullptr);
  if (!extents_done) {
    done(std::move(call->status));
  } else if (call->status.ok()) {
    extents_done(std::move(call->extents));
  } else {
    extents_done(std::move(call->status));
  }
}

void CallTable::Insert(std::shared_ptr<Call> call) {
  call->charge_bytes =
      kCallChargeBytes +
      (MovesData(call->request.kind) ? call->request.length : 0);
  admitted_bytes_ += call->charge_bytes;
  Call& added = *call;
  added.position = active_.emplace(added.deadline, std::move(call));
}

void CallTable::Add(std::shared_ptr<Call> call) {
  uncut_.push_back(call);
  Insert(std::move(call));
}

void CallTable::AddWaiter(std::shared_ptr<Call> call) {
  call->cut_all = true;
  Insert(std::move(call));
}

Part CallTable::NextCut(const Call& call) const {
  Part part;
  part.offset = call.request.offset + call.cut_bytes;
  part.length = call.request.length - call.cut_bytes;
  if (!MovesData(call.request.kind)) return part;
  const int64_t to_boundary =
      part.offset < 0 ? part_bytes_ : part_bytes_ - part.offset % part_bytes_;
  part.length = std::min(part.length, to_boundary);
  return part;
}

void CallTable::SkipEnded() {
  while (!replay_.empty() && replay_.front().call->ended) replay_.pop_front();
  if (!replay_.empty()) return;
  while (!uncut_.empty() &&
         (uncut_.front()->ended || uncut_.front()->cut_all)) {
    uncut_.pop_front();
  }
}

std::optional<int64_t> CallTable::NextPartBytes() {
  SkipEnded();
  if (!replay_.empty()) return replay_.front().window_bytes();
  if (uncut_.empty()) return std::nullopt;
  const Call& call = *uncut_.front();
  return MovesData(call.request.kind) ? NextCut(call).length : 0;
}

Part CallTable::TakePart() {
  SkipEnded();
  Part part;
  if (!replay_.empty()) {
    part = std::move(replay_.front());
    replay_.pop_front();
    return part;
  }
  Call& call = *uncut_.front();
  part = NextCut(call);
  ++call.parts;
  call.cut_bytes += part.length;
  // Operations without data are never cut, and some have no length.
  call.cut_all =
      !MovesData(call.request.kind) || call.cut_bytes == call.request.length;
  if (call.cut_all) {
    part.call = std::move(uncut_.front());
    uncut_.pop_front();
  } else {
    part.call = uncut_.front();
  }
  return part;
}

void CallTable::Replay(std::vector<Part> parts) {
  replay_.insert(replay_.begin(), std::make_move_iterator(parts.begin()),
                 std::make_move_iterator(parts.end()));
}

void CallTable::Finish(const Part& part, absl::Status status) {
  const std::shared_ptr<Call>& call = part.call;
  if (call->ended) return;
  --call->parts;
  Uncharge(*call, part.window_bytes());
  if (call->status.ok()) call->status = std::move(status);
  const bool more = !call->cut_all && call->status.ok();
  if (call->parts == 0 && !more) {
    End(call, call->status);
  } else if (!more) {
    call->cut_all = true;  // The rest of the range stays unsent.
  }
}

void CallTable::FinishExtents(const Part& part,
                              const std::vector<Extent>& extents,
                              int64_t next_offset, int64_t volume_size_bytes) {
  const std::shared_ptr<Call>& call = part.call;
  if (call->ended) return;
  const int64_t end = RangeEnd(*call, volume_size_bytes);
  const bool moved = next_offset > part.offset;
  AppendExtents(call->extents, extents);
  const bool enough = call->request.max_extents > 0 && moved;
  if (enough || next_offset >= end || (call->request.length == 0 && !moved)) {
    Finish(part, absl::OkStatus());
  } else if (!moved) {
    Finish(part, absl::InternalError(absl::StrCat(
                     "the server stopped listing extents at offset ",
                     next_offset, ", before the range's end at ", end)));
  } else {
    // Ask for the rest with one more part.
    replay_.push_back(
        {.call = call,
         .offset = next_offset,
         .length = call->request.length == 0 ? 0 : end - next_offset});
  }
}

void CallTable::Uncharge(Call& call, int64_t bytes) {
  call.charge_bytes -= bytes;
  admitted_bytes_ -= bytes;
}

void CallTable::End(const std::shared_ptr<Call>& call, absl::Status status) {
  if (call->ended) return;
  call->ended = true;
  call->status = std::move(status);
  Uncharge(*call, call->charge_bytes);
  if (call->pins == 0) completions_.push_back({call});
  active_.erase(call->position);
}

void CallTable::EndAll(const absl::Status& status) {
  while (!active_.empty()) {
    const std::shared_ptr<Call> call = active_.begin()->second;
    End(call, call->status.ok() ? status : call->status);
  }
  uncut_.clear();
  replay_.clear();
}

void CallTable::Unpin(const std::shared_ptr<Call>& call) {
  if (--call->pins == 0 && call->ended) completions_.push_back({call});
}

std::vector<std::shared_ptr<Call>> CallTable::Expired(absl::Time now) const {
  std::vector<std::shared_ptr<Call>> expired;
  for (auto it = active_.begin(); it != active_.end() && it->first <= now;
       ++it) {
    expired.push_back(it->second);
  }
  return expired;
}

absl::Time CallTable::next_deadline() const {
  return active_.empty() ? absl::InfiniteFuture() : active_.begin()->first;
}

std::vector<Completion> CallTable::TakeCompletions() {
  return std::exchange(completions_, {});
}

}  // namespace ramvol
