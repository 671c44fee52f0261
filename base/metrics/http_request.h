// The head of an HTTP request, as far as the endpoint needs it.
#ifndef RAMVOL_BASE_METRICS_HTTP_REQUEST_H_
#define RAMVOL_BASE_METRICS_HTTP_REQUEST_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "base/door.h"

namespace ramvol::metrics {

// Longest head that is accepted.
inline constexpr size_t kMaxRequestBytes = 8 << 10;

struct HttpRequest {
  std::string method;
  std::string path;           // Without what follows a '?'.
  std::string query;          // What follows the '?', still encoded.
  std::string host;           // As the client wrote it; empty if it did not.
  std::string authorization;  // Likewise.
  size_t bytes = 0;  // Size of the head, including the empty line at its end.
};

// Whether `seen` begins with a complete HTTP/1 head. If so, sets `request`. Two
// Host or two Authorization fields are wrong; all other header fields are
// ignored.
Opening ParseHttpRequest(std::string_view seen, HttpRequest* request);

}  // namespace ramvol::metrics

#endif  // RAMVOL_BASE_METRICS_HTTP_REQUEST_H_
