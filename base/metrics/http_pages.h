// Pages that an Endpoint serves beside metrics and probes.
#ifndef RAMVOL_BASE_METRICS_HTTP_PAGES_H_
#define RAMVOL_BASE_METRICS_HTTP_PAGES_H_

#include <optional>
#include <string>

#include "base/metrics/http_request.h"

namespace ramvol::metrics {

struct HttpAnswer {
  int code = 200;
  std::string body = "ok\n";
  std::string type = "text/plain; charset=utf-8";
  // More header fields, each with its line end.
  std::string fields = {};
};

// The endpoint calls it from one thread, for the hosts of its HostRule only.
class HttpPages {
 public:
  virtual ~HttpPages() = default;

  // Returns the constant answer for `path`, or nullptr if there is none. The
  // answer lives as long as this object.
  virtual const HttpAnswer* FindFile(const std::string& path) const = 0;
  // Makes the answer to `request`, within some milliseconds. nullopt if there
  // is no such path.
  virtual std::optional<HttpAnswer> Make(const HttpRequest& request) = 0;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_BASE_METRICS_HTTP_PAGES_H_
