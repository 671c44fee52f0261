// What is open, and ends when a right is taken away.
#ifndef RAMVOL_SERVER_ACCESS_SESSIONS_H_
#define RAMVOL_SERVER_ACCESS_SESSIONS_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"

namespace ramvol::access {

// Streams and connections. Thread-safe.
class Sessions {
 public:
  struct Session {
    // Whether it may go on. Quick.
    std::function<bool()> may_go_on;
    // Ends it. May be called more than once, and after the end.
    std::function<void()> end;
  };
  // Holds its session in. Drop it with the stream.
  using Entry = std::shared_ptr<const void>;

  Sessions() : state_(std::make_shared<State>()) {}

  Entry Add(Session session) {
    auto* const added = new Session(std::move(session));
    // The state may outlive this.
    auto entry =
        std::shared_ptr<Session>(added, [state = state_](Session* gone) {
          {
            MutexLock lock(&state->mu);
            state->all.erase(gone);
          }
          delete gone;
        });
    MutexLock lock(&state_->mu);
    state_->all.emplace(added, entry);
    return entry;
  }

  // Ends those that may not go on. Call it some times a second.
  void Review() {
    std::vector<std::shared_ptr<Session>> all;
    {
      MutexLock lock(&state_->mu);
      all.reserve(state_->all.size());
      for (const auto& [key, weak] : state_->all) {
        if (auto session = weak.lock()) all.push_back(std::move(session));
      }
    }
    for (const auto& session : all) {
      if (!session->may_go_on()) session->end();
    }
  }

  size_t size() const {
    MutexLock lock(&state_->mu);
    return state_->all.size();
  }

 private:
  struct State {
    Mutex mu;
    absl::flat_hash_map<Session*, std::weak_ptr<Session>> all
        ABSL_GUARDED_BY(mu);
  };

  const std::shared_ptr<State> state_;
};

}  // namespace ramvol::access

#endif  // RAMVOL_SERVER_ACCESS_SESSIONS_H_
