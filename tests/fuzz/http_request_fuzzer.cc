// What ParseHttpRequest takes is what it says; the beginning of a request that
// is taken is never refused.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/metrics/host_rule.h"
#include "base/metrics/http_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using ramvol::Opening;
  using ramvol::metrics::HttpRequest;
  using ramvol::metrics::ParseHttpRequest;
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  HttpRequest request;
  if (ParseHttpRequest(all, &request) != Opening::kComplete) return 0;
  RAMVOL_CHECK(request.bytes <= size && request.path.size() < size);
  RAMVOL_CHECK(request.method.find(' ') == std::string_view::npos);
  RAMVOL_CHECK(request.host.find('\n') == std::string_view::npos);
  (void)ramvol::metrics::HostRule().Allows(request.host);
  for (size_t part = 1; part < request.bytes; ++part) {
    HttpRequest ignored;
    RAMVOL_CHECK(part >= ramvol::metrics::kMaxRequestBytes ||
                 ParseHttpRequest(all.substr(0, part), &ignored) ==
                     Opening::kIncomplete);
  }
  return 0;
}
