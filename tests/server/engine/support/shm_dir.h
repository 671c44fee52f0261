// A directory on a tmpfs, where memory files can be.
#ifndef RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_SHM_DIR_H_
#define RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_SHM_DIR_H_

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <system_error>

#include "gtest/gtest.h"

namespace ramvol::engine {

// Empty at first; removed with what is in it. A process that ends before that
// leaves it to a later one: whoever uses it holds a lock, which goes with the
// process.
class ShmDir {
 public:
  ShmDir() {
    RemoveLeft();
    EXPECT_NE(mkdtemp(path_.data()), nullptr) << path_;
    lock_ = Lock(path_);
  }
  ~ShmDir() {
    Remove(path_);
    close(lock_);
  }

  ShmDir(const ShmDir&) = delete;
  ShmDir& operator=(const ShmDir&) = delete;

  const std::string& path() const { return path_; }

 private:
  static constexpr char kParent[] = "/dev/shm";
  static constexpr char kPrefix[] = "ramvol-test-";
  // A younger one may be about to be locked.
  static constexpr std::chrono::hours kMinAge{1};

  static void Remove(const std::filesystem::path& path) {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  // -1 when somebody has it.
  static int Lock(const std::filesystem::path& path) {
    const int dir = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0 && flock(dir, LOCK_EX | LOCK_NB) == 0) return dir;
    close(dir);
    return -1;
  }
  static void RemoveLeft() {
    std::error_code gone;
    for (const auto& entry :
         std::filesystem::directory_iterator(kParent, gone)) {
      if (!entry.path().filename().string().starts_with(kPrefix)) continue;
      const auto changed = entry.last_write_time(gone);
      const auto now = std::filesystem::file_time_type::clock::now();
      if (gone || now - changed < kMinAge) continue;
      const int lock = Lock(entry.path());
      if (lock < 0) continue;
      Remove(entry.path());
      close(lock);
    }
  }

  std::string path_ = std::string(kParent) + "/" + kPrefix + "XXXXXX";
  int lock_ = -1;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_SHM_DIR_H_
