#include "vhost_user/inflight.h"

#include <algorithm>
#include <utility>

namespace ramvol::vhost {
namespace {

// The next back-end sees stores in the order in which they were made, and each
// one whole, even when this process is killed in between.
template <typename T>
void Store(T* to, T value) {
  __atomic_store_n(to, value, __ATOMIC_RELEASE);
}

template <typename T>
T Load(const T* from) {
  return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}

}  // namespace

size_t Inflight::BytesFor(uint16_t queue_size) {
  const size_t bytes = sizeof(Header) + queue_size * sizeof(Entry);
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

Inflight::Inflight(char* region, uint16_t queue_size)
    : header_(reinterpret_cast<Header*>(region)),
      entries_(reinterpret_cast<Entry*>(region + sizeof(Header))),
      queue_size_(queue_size) {}

void Inflight::Initialize(uint16_t used_index) {
  for (uint16_t i = 0; i < queue_size_; ++i) Store(&entries_[i].inflight, {});
  Store(&header_->features, uint64_t{0});
  Store(&header_->entries, queue_size_);
  Store(&header_->last_batch_head, uint16_t{0});
  Store(&header_->used_index, used_index);
  Store(&header_->version, kVersion);
}

std::vector<uint16_t> Inflight::Recover(uint16_t used_index) {
  if (!tracks()) return {};
  counter_ = 0;
  if (Load(&header_->version) != kVersion ||
      Load(&header_->entries) != queue_size_) {
    Initialize(used_index);
    return {};
  }
  // The last batch was answered, but perhaps not all of it noted.
  const uint16_t before = Load(&header_->used_index);
  uint16_t batch = static_cast<uint16_t>(used_index - before);
  batch = std::min(batch, queue_size_);
  for (uint16_t head = Load(&header_->last_batch_head); batch > 0; --batch) {
    if (head >= queue_size_) break;
    Store(&entries_[head].inflight, uint8_t{0});
    head = Load(&entries_[head].next);
  }
  Store(&header_->used_index, used_index);

  std::vector<std::pair<uint64_t, uint16_t>> found;
  for (uint16_t head = 0; head < queue_size_; ++head) {
    if (Load(&entries_[head].inflight) != 1) continue;
    const uint64_t counter = Load(&entries_[head].counter);
    found.emplace_back(counter, head);
    counter_ = std::max(counter_, counter + 1);
  }
  std::sort(found.begin(), found.end());
  std::vector<uint16_t> heads;
  heads.reserve(found.size());
  for (const auto& [counter, head] : found) heads.push_back(head);
  return heads;
}

void Inflight::Took(uint16_t head) {
  if (!tracks()) return;
  Store(&entries_[head].counter, counter_++);
  Store(&entries_[head].inflight, uint8_t{1});
}

void Inflight::WillAnswer(uint16_t head) {
  if (!tracks()) return;
  Store(&entries_[head].next, Load(&header_->last_batch_head));
  Store(&header_->last_batch_head, head);
}

void Inflight::Answered(uint16_t head, uint16_t used_index) {
  if (!tracks()) return;
  Store(&entries_[head].inflight, uint8_t{0});
  Store(&header_->used_index, used_index);
}

}  // namespace ramvol::vhost
