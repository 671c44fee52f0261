#include "tests/bench/load.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "tests/bench/server_process.h"

namespace ramvol::bench {
namespace {

constexpr std::chrono::milliseconds kWarmUp{300};

using Clock = std::chrono::steady_clock;

double Seconds(Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

class Driver final : public Load::Observer {
 public:
  Driver(Load* load, int depth)
      : load_(load), slots_(static_cast<size_t>(depth)), live_(depth) {
    for (int i = 0; i < depth; ++i) Begin(i);
  }

  void Done(int slot) override {
    Slot& mine = slots_[static_cast<size_t>(slot)];
    if (counting_.load(std::memory_order_relaxed)) {
      mine.latencies_us.push_back(
          static_cast<float>(Seconds(Clock::now() - mine.began) * 1e6));
    }
    if (stop_.load(std::memory_order_relaxed)) {
      live_.fetch_sub(1);
    } else {
      Begin(slot);
    }
  }

  void set_counting(bool counting) { counting_ = counting; }

  // Waits for what is under way.
  void Stop() {
    stop_ = true;
    while (live_ > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  // After Stop; in order.
  std::vector<float> TakeLatencies() {
    std::vector<float> all;
    for (const Slot& slot : slots_) {
      all.insert(all.end(), slot.latencies_us.begin(), slot.latencies_us.end());
    }
    std::sort(all.begin(), all.end());
    return all;
  }

 private:
  struct Slot {
    Clock::time_point began;
    std::vector<float> latencies_us;
  };

  void Begin(int slot) {
    slots_[static_cast<size_t>(slot)].began = Clock::now();
    load_->Begin(slot, this);
  }

  Load* const load_;
  std::vector<Slot> slots_;
  std::atomic<bool> counting_{false};
  std::atomic<bool> stop_{false};
  std::atomic<int> live_;
};

}  // namespace

Measurement Measure(Load& load, int depth, double seconds, pid_t server) {
  Driver driver(&load, depth);
  std::this_thread::sleep_for(kWarmUp);
  driver.set_counting(true);
  const double server_cpu = ProcessCpuSeconds(server);
  const double client_cpu = ProcessCpuSeconds(getpid());
  const auto start = Clock::now();
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  driver.set_counting(false);
  const double elapsed = Seconds(Clock::now() - start);
  const double server_used = ProcessCpuSeconds(server) - server_cpu;
  const double client_used = ProcessCpuSeconds(getpid()) - client_cpu;
  driver.Stop();

  const std::vector<float> latencies = driver.TakeLatencies();
  Measurement result;
  if (latencies.empty()) return result;
  const auto ops = static_cast<double>(latencies.size());
  result.ops_per_s = ops / elapsed;
  result.server_cpu_us_per_op = server_used / ops * 1e6;
  result.client_cpu_us_per_op = client_used / ops * 1e6;
  result.p50_us = latencies[latencies.size() / 2];
  result.p99_us = latencies[latencies.size() * 99 / 100];
  return result;
}

}  // namespace ramvol::bench
