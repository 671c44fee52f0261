// Who is at the other end of gRPC's Unix sockets.
#ifndef RAMVOL_SERVER_ACCESS_CONNECTIONS_H_
#define RAMVOL_SERVER_ACCESS_CONNECTIONS_H_

#include <charconv>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"

namespace ramvol::access {

// gRPC tells of a call whose Unix socket's address it came from, which clients
// choose or have not. So each connection gets a number, which stands in that
// address' place, and its names are kept here. Thread-safe.
class Connections {
 public:
  using Names = std::shared_ptr<const std::vector<std::string>>;

  Connections() : state_(std::make_shared<State>()) {}

  // Keeps `names` under a new number, until the entry is dropped.
  std::pair<uint64_t, std::shared_ptr<const void>> Add(
      std::vector<std::string> names) {
    auto kept =
        std::make_shared<const std::vector<std::string>>(std::move(names));
    uint64_t number = 0;
    {
      WriterMutexLock lock(&state_->mu);
      number = ++state_->last;
      state_->all.emplace(number, std::move(kept));
    }
    // The state may outlive this.
    std::shared_ptr<const void> entry(state_.get(),
                                      [state = state_, number](const void*) {
                                        WriterMutexLock lock(&state->mu);
                                        state->all.erase(number);
                                      });
    return {number, std::move(entry)};
  }

  // Of "unix:/NUMBER/unix", as grpc::ServerContext::peer() tells it; null for
  // others.
  Names FindByPeer(std::string_view grpc_peer) const {
    constexpr std::string_view kPrefix = "unix:/";
    if (grpc_peer.substr(0, kPrefix.size()) != kPrefix) return nullptr;
    const std::string_view rest = grpc_peer.substr(kPrefix.size());
    uint64_t number = 0;
    const auto end =
        std::from_chars(rest.data(), rest.data() + rest.size(), number);
    return end.ec == std::errc() ? Find(number) : nullptr;
  }
  // Null when there is none.
  Names Find(uint64_t number) const {
    ReaderMutexLock lock(&state_->mu);
    const auto found = state_->all.find(number);
    return found == state_->all.end() ? nullptr : found->second;
  }

 private:
  struct State {
    SharedMutex mu;
    uint64_t last ABSL_GUARDED_BY(mu) = 0;
    absl::flat_hash_map<uint64_t, Names> all ABSL_GUARDED_BY(mu);
  };

  const std::shared_ptr<State> state_;
};

}  // namespace ramvol::access

#endif  // RAMVOL_SERVER_ACCESS_CONNECTIONS_H_
