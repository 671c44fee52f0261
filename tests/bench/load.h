// Keeps a server busy and measures it.
#ifndef RAMVOL_TESTS_BENCH_LOAD_H_
#define RAMVOL_TESTS_BENCH_LOAD_H_

#include <sys/types.h>

namespace ramvol::bench {

// One kind of operation, of which several are under way at once: one in each
// slot.
class Load {
 public:
  // Is told when a slot's operation has ended.
  class Observer {
   public:
    virtual ~Observer() = default;
    // May begin the slot's next operation before it returns.
    virtual void Done(int slot) = 0;
  };

  virtual ~Load() = default;

  // Begins the slot's next operation; it never ends before this returns on the
  // same thread. A failure ends the program. From any thread, for each slot
  // from one at a time.
  virtual void Begin(int slot, Observer* observer) = 0;
};

struct Measurement {
  double ops_per_s = 0;
  double server_cpu_us_per_op = 0;
  // Of this process: what the client costs.
  double client_cpu_us_per_op = 0;
  double p50_us = 0;
  double p99_us = 0;
};

// Keeps `depth` operations of `load` under way for `seconds`, after a warm-up
// of 0.3 s that does not count, until none is left.
Measurement Measure(Load& load, int depth, double seconds, pid_t server);

}  // namespace ramvol::bench

#endif  // RAMVOL_TESTS_BENCH_LOAD_H_
