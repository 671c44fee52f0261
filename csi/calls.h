// Runs the calls of the driver's services: deadlines, errors, counts.
#ifndef RAMVOL_CSI_CALLS_H_
#define RAMVOL_CSI_CALLS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"

namespace ramvol::csi_driver {

// Calls without a deadline, and those with a later one, get this one.
inline constexpr absl::Duration kMaxCallTime = absl::Minutes(2);

// Thread-safe.
class Calls {
 public:
  // Does the work until about `deadline`.
  using Work = std::function<absl::Status(absl::Time deadline)>;

  // Calls and their time so far, by method and code.
  struct Count {
    std::string method;
    std::string code;
    uint64_t calls = 0;
    absl::Duration total;
  };

  // Logs an error with `volume`, and counts the call. `method` is of a closed
  // set.
  grpc::Status Run(const char* method, const std::string& volume,
                   const grpc::ServerContext& context, const Work& work)
      ABSL_LOCKS_EXCLUDED(mu_);

  std::vector<Count> counts() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Key = std::pair<std::string, std::string>;

  mutable Mutex mu_;
  std::map<Key, std::pair<uint64_t, absl::Duration>> counts_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_CALLS_H_
