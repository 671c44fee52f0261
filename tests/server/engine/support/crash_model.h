// What volumes should hold that a process changes until it is killed.
#ifndef RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_CRASH_MODEL_H_
#define RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_CRASH_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <string>

#include "server/engine/engine.h"

namespace ramvol::engine {

// Each of a few threads makes, changes, reads, reverts and deletes its own
// volumes and snapshots, and notes before and after each call what it does. The
// notes are in memory that a forked process shares with its parent, so they
// outlive it.
class CrashModel {
 public:
  CrashModel();
  ~CrashModel();
  CrashModel(const CrashModel&) = delete;
  CrashModel& operator=(const CrashModel&) = delete;

  // What the process does, until it is killed. Aborts when a call fails or a
  // read is wrong.
  [[noreturn]] void Work(Engine& engine, uint64_t seed);
  // Compares all volumes with what should be there: what was acknowledged, and
  // of what was under way the old or the new state. Goes on with what was
  // found. Reports failures to GoogleTest.
  void Check(Engine& engine);
  // Prints how often what was done, and expects each at least once.
  void ExpectAllKinds() const;

 private:
  struct State;
  class Worker;
  void CheckRoot(Engine& engine, int thread, int number);

  State& state_;
};

// Runs `run`, which does not return, in a process of its own, and kills that:
// at a random time below `max_micros`, or at one of its first `max_points` kill
// points. A failure when it ends by itself.
void RunAndKill(std::mt19937_64& random, uint64_t max_points,
                uint64_t max_micros, const std::function<void()>& run);

// Deletes everything and expects that no more memory is taken than `bytes`.
void ExpectFreed(Engine& engine, uint64_t bytes);

}  // namespace ramvol::engine

#endif  // RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_CRASH_MODEL_H_
