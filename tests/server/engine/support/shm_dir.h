// A directory on a tmpfs, where memory files can be.
#ifndef RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_SHM_DIR_H_
#define RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_SHM_DIR_H_

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "gtest/gtest.h"

namespace ramvol::engine {

// Empty at first; removed with what is in it.
class ShmDir {
 public:
  ShmDir() { EXPECT_NE(mkdtemp(path_.data()), nullptr) << path_; }
  ~ShmDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  ShmDir(const ShmDir&) = delete;
  ShmDir& operator=(const ShmDir&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/dev/shm/ramvol-test-XXXXXX";
};

}  // namespace ramvol::engine

#endif  // RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_SHM_DIR_H_
