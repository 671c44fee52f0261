// Bounds the threads that look for work instead of sleeping.
#ifndef RAMVOL_VHOST_USER_AWAKE_PLACE_H_
#define RAMVOL_VHOST_USER_AWAKE_PLACE_H_

#include <atomic>

namespace ramvol::vhost {

// A thread's place among those of all devices that look without having found
// anything. There are as many as `cores`, so that threads which only look take
// turns with all others at most.
class AwakePlace {
 public:
  explicit AwakePlace(int cores) : cores_(cores) {}
  ~AwakePlace() { Give(); }

  AwakePlace(const AwakePlace&) = delete;
  AwakePlace& operator=(const AwakePlace&) = delete;

  // Whether it has one now.
  bool Take() {
    if (has_) return true;
    has_ = awake_.fetch_add(1, std::memory_order_relaxed) < cores_;
    if (!has_) awake_.fetch_sub(1, std::memory_order_relaxed);
    return has_;
  }
  void Give() {
    if (has_) awake_.fetch_sub(1, std::memory_order_relaxed);
    has_ = false;
  }

 private:
  static inline std::atomic<int> awake_{0};

  const int cores_;
  bool has_ = false;
};

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_AWAKE_PLACE_H_
