// Runs the system's programs: mount, mkfs, losetup.
#ifndef RAMVOL_CSI_COMMAND_H_
#define RAMVOL_CSI_COMMAND_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

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
  // DEADLINE_EXCEEDED: it took too long, and was killed. INTERNAL: it could not
  // be started, or a signal ended it.
  virtual absl::StatusOr<CommandResult> Run(const Command& command,
                                            absl::Time deadline) = 0;

  // Starts a program that outlives this process. Its outputs go to the file
  // `log`, which is emptied first, and locked until the program ends.
  //
  // ALREADY_EXISTS: one that has this log is there. INTERNAL: it could not be
  // started.
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
                                    absl::Time deadline) override;
  absl::Status Start(const Command& command, const std::string& log,
                     absl::Time deadline) override;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_COMMAND_H_
