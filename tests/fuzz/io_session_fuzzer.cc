// libFuzzer over the handling of Io messages.
//
//   bazel build --config=fuzz //tests/fuzz:io_session_fuzzer
//   bazel-bin/tests/fuzz/io_session_fuzzer tests/fuzz/corpus/io_session
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/io_session_driver.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ramvol::testing::FuzzIoSession(data, size);
  return 0;
}
