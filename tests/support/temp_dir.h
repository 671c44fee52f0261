// Directories for the files of tests.
#ifndef RAMVOL_TESTS_SUPPORT_TEMP_DIR_H_
#define RAMVOL_TESTS_SUPPORT_TEMP_DIR_H_

#include <stdlib.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "gtest/gtest.h"

namespace ramvol::testing {

// A new empty directory that is removed, with all that is in it, when this is
// destroyed. Declare it before whatever uses it. Aborts if it cannot be made.
class TempDir {
 public:
  TempDir() : TempDir(::testing::TempDir()) {}
  // The path of a socket may have 107 bytes, and ::testing::TempDir() more.
  static TempDir ForSockets() { return TempDir("/tmp"); }

  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }

 private:
  explicit TempDir(const std::filesystem::path& parent)
      : path_(parent / "ramvol.XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) {
      std::perror(path_.c_str());
      std::abort();
    }
  }

  std::string path_;
};

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_SUPPORT_TEMP_DIR_H_
