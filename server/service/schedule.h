// Things to do at a time.
#ifndef RAMVOL_SERVER_SERVICE_SCHEDULE_H_
#define RAMVOL_SERVER_SERVICE_SCHEDULE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace ramvol::service {

// Each item is there once at most, with its time. Not thread-safe.
template <typename Item>
class Schedule {
 public:
  // Instead of the time that it had.
  void Set(std::shared_ptr<Item> item, int64_t at) {
    Remove(item.get());
    Item* const key = item.get();
    times_.emplace(key, at);
    items_.emplace(Key(at, key), std::move(item));
  }
  void Remove(Item* item) {
    const auto found = times_.find(item);
    if (found == times_.end()) return;
    items_.erase(Key(found->second, item));
    times_.erase(found);
  }
  // Takes out the first item whose time has come; null when there is none.
  std::shared_ptr<Item> PopDue(int64_t now) {
    const auto first = items_.begin();
    if (first == items_.end() || first->first.first > now) return nullptr;
    std::shared_ptr<Item> item = std::move(first->second);
    times_.erase(item.get());
    items_.erase(first);
    return item;
  }
  size_t size() const { return items_.size(); }

 private:
  using Key = std::pair<int64_t, Item*>;

  std::map<Key, std::shared_ptr<Item>> items_;
  absl::flat_hash_map<Item*, int64_t> times_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_SCHEDULE_H_
