// RAMVOL_CHECK(condition): catches our own bugs, in release builds too. It
// prints the place and aborts. (Abseil 20220623 has no absl/log.)
#ifndef RAMVOL_BASE_CHECK_H_
#define RAMVOL_BASE_CHECK_H_

#include <cstdio>
#include <cstdlib>

#define RAMVOL_CHECK(condition) \
  ((condition)                  \
       ? static_cast<void>(0)   \
       : ::ramvol::internal_check::Fail(#condition, __FILE__, __LINE__))

namespace ramvol::internal_check {

[[noreturn, gnu::cold, gnu::noinline]] inline void Fail(const char* condition,
                                                        const char* file,
                                                        int line) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace ramvol::internal_check

#endif  // RAMVOL_BASE_CHECK_H_
