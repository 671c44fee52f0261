#include "tests/client/cli/cli_harness.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/cli_context.h"
#include "client/cli/run_cli.h"
#include "client/client.h"
#include "client/options.h"
#include "tests/client/fake_volume.h"

namespace ramvol::cli {

MemoryFile::MemoryFile() : fd_(memfd_create("cli_test", MFD_CLOEXEC)) {}

MemoryFile::~MemoryFile() { close(fd_); }

std::string MemoryFile::Content() const {
  std::string content(lseek(fd_, 0, SEEK_END), '\0');
  if (pread(fd_, content.data(), content.size(), 0) < 0) return "unreadable";
  return content;
}

void MemoryFile::Set(const std::string& content) {
  if (ftruncate(fd_, 0) != 0 ||
      pwrite(fd_, content.data(), content.size(), 0) < 0) {
    abort();
  }
  lseek(fd_, 0, SEEK_SET);
}

CliHarness::CliHarness() {
  context_.in_fd = in_.fd();
  context_.out_fd = -1;
  context_.err_fd = -1;
  context_.interrupted = &interrupted_;
  context_.env = [this](const std::string& name) -> std::optional<std::string> {
    auto found = env_.find(name);
    if (found == env_.end()) return std::nullopt;
    return found->second;
  };
  context_.connect = [this](const ClientOptions& options) {
    options_ = options;
    return Client(server_);
  };
}

CliHarness::Result CliHarness::Run(const std::vector<std::string>& arguments) {
  MemoryFile out;
  MemoryFile err;
  CliContext context = context_;
  if (context.out_fd < 0) context.out_fd = out.fd();
  if (context.err_fd < 0) context.err_fd = err.fd();
  Result result;
  result.exit_code = RunCli(arguments, context);
  result.out = out.Content();
  result.err = err.Content();
  return result;
}

FakeVolume& CliHarness::AddVolume(const std::string& name, int64_t size_bytes) {
  return server_->Add(name, size_bytes);
}

std::string TempPath(const std::string& name) {
  static int count = 0;
  return absl::StrCat(getenv("TEST_TMPDIR"), "/", getpid(), "-", ++count, "-",
                      name);
}

void WriteFile(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteSparseFile(const std::string& path, int64_t size, int64_t offset,
                     const std::string& content) {
  const int fd = open(path.c_str(), O_CREAT | O_RDWR, 0600);
  if (ftruncate(fd, size) != 0 ||
      pwrite(fd, content.data(), content.size(), offset) < 0) {
    abort();
  }
  close(fd);
}

bool FileExists(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

int64_t DiskBytes(const std::string& path) {
  struct stat info = {};
  stat(path.c_str(), &info);
  return info.st_blocks * 512;
}

std::string Noise(int64_t length, int seed) {
  std::mt19937 random(seed);
  std::string noise((length + 3) / 4 * 4, '\0');
  for (size_t at = 0; at < noise.size(); at += 4) {
    // No byte is zero.
    const auto word = static_cast<uint32_t>(random()) | 0x01010101;
    std::memcpy(&noise[at], &word, sizeof(word));
  }
  noise.resize(length);
  return noise;
}

}  // namespace ramvol::cli
