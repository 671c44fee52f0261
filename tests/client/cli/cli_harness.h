// Runs command lines over a FakeServer and files in memory.
#ifndef RAMVOL_TESTS_CLIENT_CLI_CLI_HARNESS_H_
#define RAMVOL_TESTS_CLIENT_CLI_CLI_HARNESS_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/cli/cli_context.h"
#include "client/options.h"
#include "tests/client/fake_server.h"
#include "tests/client/fake_volume.h"

namespace ramvol::cli {

// A file in memory, or a pipe's stand-in.
class MemoryFile {
 public:
  MemoryFile();
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  int fd() const { return fd_; }
  std::string Content() const;
  // Replaces the content and goes to its beginning.
  void Set(const std::string& content);

 private:
  const int fd_;
};

class CliHarness {
 public:
  CliHarness();

  struct Result {
    int exit_code = 0;
    std::string out;
    std::string err;
  };
  Result Run(const std::vector<std::string>& arguments);

  FakeServer& server() { return *server_; }
  CliContext& context() { return context_; }
  MemoryFile& in() { return in_; }
  std::atomic<bool>& interrupted() { return interrupted_; }
  std::map<std::string, std::string>& env() { return env_; }
  // Of the latest connection.
  const ClientOptions& options() const { return options_; }

  // Creates a volume on the server.
  FakeVolume& AddVolume(const std::string& name, int64_t size_bytes);

 private:
  std::shared_ptr<FakeServer> server_ = std::make_shared<FakeServer>();
  std::atomic<bool> interrupted_{false};
  std::map<std::string, std::string> env_;
  ClientOptions options_;
  MemoryFile in_;
  CliContext context_;
};

// A path under TEST_TMPDIR that no other test uses.
std::string TempPath(const std::string& name);
void WriteFile(const std::string& path, const std::string& content);
std::string ReadFile(const std::string& path);
// A file of this size with `content` at `offset`, the rest a hole.
void WriteSparseFile(const std::string& path, int64_t size, int64_t offset,
                     const std::string& content);
bool FileExists(const std::string& path);
// Bytes that the file takes on disk.
int64_t DiskBytes(const std::string& path);
// Text that does not repeat within a block.
std::string Noise(int64_t length, int seed);

}  // namespace ramvol::cli

#endif  // RAMVOL_TESTS_CLIENT_CLI_CLI_HARNESS_H_
