// What a forked process writes to stderr.
#ifndef RAMVOL_TESTS_SUPPORT_CHILD_ERRORS_H_
#define RAMVOL_TESTS_SUPPORT_CHILD_ERRORS_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::testing {

// A process that is killed may have begun to report a fault: its exit status
// does not tell.
class ChildErrors {
 public:
  ChildErrors() { EXPECT_GE(fd_, 0); }
  ~ChildErrors() { close(fd_); }
  ChildErrors(const ChildErrors&) = delete;
  ChildErrors& operator=(const ChildErrors&) = delete;

  // In the child, first of all.
  void Collect() const { dup2(fd_, STDERR_FILENO); }

  // In the parent, once the child has ended: shows what it wrote, and fails if
  // that is the beginning of a report, by a sanitizer, a check or a signal.
  void ExpectNoReport() const {
    std::string text(static_cast<size_t>(lseek(fd_, 0, SEEK_END)), '\0');
    EXPECT_EQ(pread(fd_, text.data(), text.size(), 0),
              static_cast<ssize_t>(text.size()));
    if (!text.empty()) std::fprintf(stderr, "%s", text.c_str());
    EXPECT_THAT(text, ::testing::Not(::testing::ContainsRegex(
                          "Sanitizer:|runtime error: |check failed: |SIG")));
  }

 private:
  const int fd_ = memfd_create("errors", MFD_CLOEXEC);
};

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_SUPPORT_CHILD_ERRORS_H_
