// What the project's daemons have in common: flags, log, signals, malloc.
#ifndef RAMVOL_BASE_PROGRAM_H_
#define RAMVOL_BASE_PROGRAM_H_

#include <signal.h>

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ramvol {

// One daemon, from main's first line to its last. Only Log is thread-safe.
class Program {
 public:
  // `usage` is what --help begins with. --help lists the flags of the file
  // whose path ends in `main_file`, such as "server/main.cc".
  Program(std::string name, std::string usage, std::string main_file);
  // Writes the rest of the log.
  ~Program();

  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Takes the flags in, with dashes or underscores in their names; false, and
  // the log says why, when there is anything else. A flag that is unknown or
  // malformed ends the process with 1, --help and --version end it with 0.
  bool ParseFlags(int argc, char** argv) const;

  // Sets --log_format and --log_level of the process's log. INVALID_ARGUMENT
  // names the flag and the accepted values.
  absl::Status SetLog(const std::string& format,
                      const std::string& level) const;
  // Writes a note to the process's log (base/event_log.h).
  void Log(const std::string& message) const;
  // Logs the message and returns main's exit code, 1 unless another is given.
  int Fail(const absl::Status& status, int exit_code = 1) const;

  // Starts the log's thread. Blocks the signals that would end the process, for
  // WaitForStopSignal, in this and all later threads; so call it before any
  // thread starts. Also ignores SIGPIPE and SIGXFSZ, raises the limit of open
  // files, and bounds what malloc keeps.
  void Prepare();
  // Prints the line that says that the program is ready, and notifies systemd.
  void PrintReady(const std::string& what) const;
  // Likewise, but the line goes to the log.
  void LogReady(const std::string& what) const;
  // Returns at SIGTERM or SIGINT, and notifies systemd. A second one ends the
  // process at once. Other signals that would end it, such as SIGHUP from a
  // closing terminal, are only logged, because all volumes would be lost.
  void WaitForStopSignal() const;
  // Whether a signal that stops the program waits for WaitForStopSignal.
  bool StopIsPending() const;
  // Tells systemd that a start or stop goes on, and what is done.
  void StillBusy(const std::string& what) const;
  // Calls `shut_down`. When that takes much longer than `drain_timeout`, calls
  // `left`, if there is one, and ends the process with 1.
  void Stop(absl::Duration drain_timeout,
            const std::function<void()>& shut_down,
            const std::function<void()>& left = nullptr) const;
  // Ends the process, and destroys nothing; the log is written.
  [[noreturn]] static void ExitAtOnce(int exit_code = 0);

 private:
  // Sends `state` to systemd, if systemd started this process.
  void Notify(const std::string& state) const;

  const std::string name_;
  const std::string usage_;
  const std::string main_file_;
  sigset_t stop_signals_;
  sigset_t caught_signals_;  // stop_signals_ and those that are only logged.
};

// INVALID_ARGUMENT names the flag, for example "drain_timeout", its value and
// the accepted range, 0 to a day.
absl::Status CheckTimeoutFlag(const std::string& flag, absl::Duration value);

}  // namespace ramvol

#endif  // RAMVOL_BASE_PROGRAM_H_
