#include "base/fair_share.h"

#include <algorithm>

namespace ramvol {
namespace {

// A part may hold 1/8 of what its peer may still take.
constexpr size_t kPartsDivisor = 8;

}  // namespace

FairShare::Answer FairShare::Enter(absl::Span<const std::string> path) {
  MutexLock lock(&mu_);
  if (held_ >= most_) return Answer::kFull;
  size_t share = std::max(kAlways, most_ - held_);
  for (const std::string& holder : path) {
    if (holder.empty()) break;
    const auto found = holders_.find(holder);
    const size_t held = found == holders_.end() ? 0 : found->second;
    if (held >= share) return Answer::kTooMany;
    share = std::max(kAlways, (share - held) / kPartsDivisor);
  }
  ++held_;
  for (const std::string& holder : path) {
    if (!holder.empty()) ++holders_[holder];
  }
  return Answer::kEntered;
}

bool FairShare::Leave(absl::Span<const std::string> path) {
  MutexLock lock(&mu_);
  for (const std::string& holder : path) {
    const auto found = holders_.find(holder);
    if (found == holders_.end()) continue;
    if (--found->second == 0) holders_.erase(found);
  }
  return held_-- >= most_;
}

size_t FairShare::held() const {
  MutexLock lock(&mu_);
  return held_;
}

}  // namespace ramvol
