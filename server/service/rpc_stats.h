// Counts of gRPC calls, for metrics.
#ifndef RAMVOL_SERVER_SERVICE_RPC_STATS_H_
#define RAMVOL_SERVER_SERVICE_RPC_STATS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/counters.h"
#include "base/duration_histogram.h"

namespace ramvol::service {

// gRPC's status codes by number, spelled as in go-grpc-prometheus.
inline constexpr std::array<const char*, 17> kCodeNames = {"OK",
                                                           "Canceled",
                                                           "Unknown",
                                                           "InvalidArgument",
                                                           "DeadlineExceeded",
                                                           "NotFound",
                                                           "AlreadyExists",
                                                           "PermissionDenied",
                                                           "ResourceExhausted",
                                                           "FailedPrecondition",
                                                           "Aborted",
                                                           "OutOfRange",
                                                           "Unimplemented",
                                                           "Internal",
                                                           "Unavailable",
                                                           "DataLoss",
                                                           "Unauthenticated"};

// Counts of one method. Thread-safe. Recording takes no lock and allocates
// nothing.
class MethodStats {
 public:
  MethodStats() = default;

  void Started() { counts_.Add(Count::kStarted, 1); }
  void Received() { counts_.Add(Count::kReceived, 1); }
  void Sent() { counts_.Add(Count::kSent, 1); }
  void Handled(int code, int64_t took_ns);

  uint64_t started() const { return counts_.Sum(Count::kStarted); }
  uint64_t received() const { return counts_.Sum(Count::kReceived); }
  uint64_t sent() const { return counts_.Sum(Count::kSent); }
  uint64_t handled(size_t code) const;
  DurationHistogram::Snapshot durations() const { return durations_.Get(); }

 private:
  // kHandled is the first of a group, one for each code.
  enum class Count {
    kStarted,
    kReceived,
    kSent,
    kHandled,
    kCount = kHandled + static_cast<int>(kCodeNames.size()),
  };

  Counters<Count> counts_;
  DurationHistogram durations_;
};

// Counts of all methods of both services. Thread-safe.
class RpcStats {
 public:
  struct Method {
    std::string type;     // "unary", "bidi_stream"
    std::string service;  // "ramvol.v1.BlockService"
    std::string name;     // "Read"
    std::unique_ptr<MethodStats> stats = std::make_unique<MethodStats>();
  };

  // Finds the methods of both services in their descriptors.
  RpcStats();

  RpcStats(const RpcStats&) = delete;
  RpcStats& operator=(const RpcStats&) = delete;

  // Finds "/ramvol.v1.BlockService/Read"; nullptr for other services' methods.
  MethodStats* Find(std::string_view path) const;
  const std::vector<Method>& methods() const { return methods_; }

 private:
  std::vector<Method> methods_;
  absl::flat_hash_map<std::string, MethodStats*> by_path_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_RPC_STATS_H_
