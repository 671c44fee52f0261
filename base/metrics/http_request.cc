#include "base/metrics/http_request.h"

#include <algorithm>
#include <cctype>

namespace ramvol::metrics {
namespace {

constexpr std::string_view kEnd = "\r\n\r\n";
constexpr std::string_view kVersion = " HTTP/1.";

bool IsVisible(char c) { return std::isgraph(static_cast<unsigned char>(c)); }

}  // namespace

Opening ParseHttpRequest(std::string_view seen, HttpRequest* request) {
  const std::string_view line = seen.substr(0, seen.find('\r'));
  const bool printable = std::all_of(line.begin(), line.end(), [](char c) {
    return c == ' ' || IsVisible(c);
  });
  if (!printable || line.substr(0, 1) == " ") return Opening::kWrong;
  const size_t end = seen.find(kEnd);
  if (end == std::string_view::npos) {
    return seen.size() < kMaxRequestBytes ? Opening::kIncomplete
                                          : Opening::kWrong;
  }
  const size_t space = line.find(' ');
  const size_t version = line.rfind(kVersion);
  if (version == std::string_view::npos || version <= space) {
    return Opening::kWrong;
  }
  const std::string_view target = line.substr(space + 1, version - space - 1);
  request->method = line.substr(0, space);
  const size_t path_bytes = std::min(target.find('?'), target.size());
  request->path = target.substr(0, path_bytes);
  request->query = target.substr(std::min(path_bytes + 1, target.size()));
  request->bytes = end + kEnd.size();
  return Opening::kComplete;
}

}  // namespace ramvol::metrics
