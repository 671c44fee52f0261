#include "client/cli/transfer/zeroes.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace ramvol::cli {
namespace {

// How many bytes of the first block are in `data`.
size_t HeadBlockBytes(int64_t offset, std::string_view data) {
  return std::min<size_t>(kBlockBytes - offset % kBlockBytes, data.size());
}

}  // namespace

bool IsAllZero(std::string_view data) {
  if (data.empty()) return true;
  // If the first byte is zero, and each byte equals the next, all are zero.
  // memcmp compares fast, and stops at the first difference.
  return data[0] == 0 &&
         memcmp(data.data(), data.data() + 1, data.size() - 1) == 0;
}

HeadRun FindHeadRun(int64_t offset, std::string_view data) {
  HeadRun run;
  while (run.length < data.size()) {
    const std::string_view rest = data.substr(run.length);
    const size_t bytes = HeadBlockBytes(offset + run.length, rest);
    const bool zero = IsAllZero(rest.substr(0, bytes));
    if (run.length > 0 && zero != run.zero) break;
    run.zero = zero;
    run.length += bytes;
  }
  return run;
}

}  // namespace ramvol::cli
