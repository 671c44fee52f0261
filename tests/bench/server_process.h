// A server in a process of its own, so that its CPU time is known.
#ifndef RAMVOL_TESTS_BENCH_SERVER_PROCESS_H_
#define RAMVOL_TESTS_BENCH_SERVER_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace ramvol::bench {

// CPU seconds that `process` has used so far, all of its threads together.
double ProcessCpuSeconds(pid_t process);

// Started and ready after construction; stopped with SIGTERM in the end, and
// killed when this process dies first. Whatever fails ends the program.
class ServerProcess {
 public:
  // Runs argv[0] and waits for one line on its standard output.
  explicit ServerProcess(const std::vector<std::string>& argv);
  ~ServerProcess();

  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  int out_ = -1;
};

}  // namespace ramvol::bench

#endif  // RAMVOL_TESTS_BENCH_SERVER_PROCESS_H_
