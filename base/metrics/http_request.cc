#include "base/metrics/http_request.h"

#include <algorithm>
#include <cctype>

namespace ramvol::metrics {
namespace {

constexpr std::string_view kEnd = "\r\n\r\n";
constexpr std::string_view kVersion = " HTTP/1.";

constexpr std::string_view kHost = "host:";
constexpr std::string_view kAuthorization = "authorization:";

bool IsVisible(char c) { return std::isgraph(static_cast<unsigned char>(c)); }

bool IsField(std::string_view name, std::string_view line) {
  return std::equal(name.begin(), name.end(), line.begin(),
                    line.begin() + std::min(line.size(), name.size()),
                    [](char lower, char c) {
                      return lower ==
                             std::tolower(static_cast<unsigned char>(c));
                    });
}

std::string_view Trim(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(" \t"), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(" \t") + 1);
}

// Sets `value` to that of the field `name` among `fields`, lines that each end
// in "\r\n". False if there are several.
bool FindField(std::string_view name, std::string_view fields,
               std::string* value) {
  value->clear();
  bool found = false;
  while (!fields.empty()) {
    const size_t end = std::min(fields.find('\n'), fields.size() - 1);
    std::string_view line = fields.substr(0, end);
    fields.remove_prefix(end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (!IsField(name, line)) continue;
    if (found) return false;
    found = true;
    *value = Trim(line.substr(name.size()));
  }
  return true;
}

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
  const std::string_view fields =
      seen.substr(line.size(), end + 2 - line.size());
  const bool once = FindField(kHost, fields, &request->host) &&
                    FindField(kAuthorization, fields, &request->authorization);
  return once ? Opening::kComplete : Opening::kWrong;
}

}  // namespace ramvol::metrics
