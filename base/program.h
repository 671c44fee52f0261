// What the project's daemons have in common: flags, log, signals, malloc.
#ifndef RAMVOL_BASE_PROGRAM_H_
#define RAMVOL_BASE_PROGRAM_H_

#include <signal.h>

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ramvol {

// One daemon, from main's first line to its last. Not thread-safe but for Log.
class Program {
 public:
  // `usage` is what --help begins with. `main_file`, such as "server/main.cc",
  // is the end of the path of the file whose flags it lists.
  Program(std::string name, std::string usage, std::string main_file);

  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Takes the flags in; false, and the log says why, when there is anything
  // else. A flag that is unknown or malformed ends the process with 1, --help
  // and --version end it with 0.
  bool ParseFlags(int argc, char** argv) const;

  // Writes a line to standard error, what is not Printable in it escaped.
  void Log(const std::string& message) const;
  // Logs the message; what main returns then.
  int Fail(const absl::Status& status) const;

  // Keeps the stop signals, and others that would end the process, for
  // WaitForStopSignal, in this and all later threads (so call it before there
  // are any), ignores SIGPIPE, and keeps malloc from holding several times what
  // is in use.
  void Prepare();
  // Prints the line that tells others that the program can be used, and tells
  // systemd.
  void PrintReady(const std::string& what) const;
  // Likewise, but the line goes to the log.
  void LogReady(const std::string& what) const;
  // Returns at SIGTERM or SIGINT, of which systemd is told; a further one ends
  // the process at once. What else would end it, such as the SIGHUP of a
  // terminal that closes, is logged and changes nothing: all volumes would go.
  void WaitForStopSignal() const;
  // Calls `shut_down` and returns, or ends the process with 1 when that takes
  // much longer than `drain_timeout`.
  void Stop(absl::Duration drain_timeout,
            const std::function<void()>& shut_down) const;

 private:
  // Sends it to systemd, if that started this process.
  void Notify(const std::string& state) const;

  const std::string name_;
  const std::string usage_;
  const std::string main_file_;
  sigset_t stop_signals_;
  sigset_t caught_signals_;  // Those, and what is only logged.
};

// INVALID_ARGUMENT names the flag, for example "drain_timeout", its value and
// the accepted range, 0 to a day.
absl::Status CheckTimeoutFlag(const std::string& flag, absl::Duration value);

}  // namespace ramvol

#endif  // RAMVOL_BASE_PROGRAM_H_
