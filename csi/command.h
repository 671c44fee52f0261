// Runs the system's programs: mount, mkfs, losetup.
#ifndef RAMVOL_CSI_COMMAND_H_
#define RAMVOL_CSI_COMMAND_H_

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace ramvol::csi_driver {

using Command = std::vector<std::string>;

// How a program ended.
struct CommandResult {
  int exit_code = 0;
  // Both of its outputs, at most kMaxCommandOutputBytes, without white space
  // at the end.
  std::string output;
};
inline constexpr size_t kMaxCommandOutputBytes = 65536;

// Tests replace it. Thread-safe.
class CommandRunner {
 public:
  virtual ~CommandRunner() = default;

  // Runs a program of the PATH to its end.
  //
  // DEADLINE_EXCEEDED: it took too long, and was killed. One that waits in the
  // kernel, as for a device without ramvold, goes on until that has an answer;
  // the error says so, and its process. ABORTED: an earlier one that goes on
  // has a path in common with this one, which was not started. INTERNAL: it
  // could not be started, or a signal ended it.
  virtual absl::StatusOr<CommandResult> Run(const Command& command,
                                            absl::Time deadline) = 0;

  // Starts a program that outlives this process. Its outputs go to the file
  // `log`, which is emptied first, and locked until the program ends.
  //
  // ALREADY_EXISTS: one that has this log is there. DEADLINE_EXCEEDED,
  // INTERNAL: it could not be started.
  virtual absl::Status Start(const Command& command, const std::string& log,
                             absl::Time deadline) = 0;

  // Its output. INTERNAL, with the output, unless it ended with 0.
  absl::StatusOr<std::string> Output(const Command& command,
                                     absl::Time deadline);
};

// Whether a program that Start gave this log is there: also one of an earlier
// process, or one that is only about to begin, which /proc does not show.
bool IsStarted(const std::string& log);

class SystemCommands final : public CommandRunner {
 public:
  absl::StatusOr<CommandResult> Run(const Command& command,
                                    absl::Time deadline) override
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Start(const Command& command, const std::string& log,
                     absl::Time deadline) override;

 private:
  // Returns DEADLINE_EXCEEDED.
  absl::Status Kill(pid_t pid, const Command& command) ABSL_LOCKS_EXCLUDED(mu_);
  // ABORTED if one that goes on is in the way. Forgets those that ended.
  absl::Status CheckAlone(const Command& command) ABSL_LOCKS_EXCLUDED(mu_);

  Mutex mu_;
  // Those that were killed and go on. What they have under way may still
  // change what they name.
  std::map<pid_t, Command> going_on_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_COMMAND_H_
