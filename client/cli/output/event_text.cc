#include "client/cli/output/event_text.h"

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/printable.h"

namespace ramvol::cli {
namespace {

std::string Client(const v1::Event& event) {
  if (event.client().empty()) return "";
  return event.protocol().empty()
             ? absl::StrCat("by ", event.client())
             : absl::StrCat(event.protocol(), " ", event.client());
}

}  // namespace

std::string EventText(const v1::Event& event) {
  std::vector<std::string> details;
  if (!event.old_volume().empty()) {
    details.push_back(absl::StrCat("was ", event.old_volume()));
  }
  for (const std::string& detail :
       {event.reason(), Client(event), event.message()}) {
    if (!detail.empty()) details.push_back(detail);
  }
  const std::string time = absl::FormatTime(
      "%Y-%m-%d %H:%M:%S", absl::FromUnixSeconds(event.time().seconds()),
      absl::UTCTimeZone());
  const std::string line =
      absl::StrFormat("%s  %-16s  %-16s  %s", time, event.type(),
                      event.volume().empty() ? "-" : event.volume(),
                      absl::StrJoin(details, ", "));
  return absl::StrCat(
      Printable(std::string(absl::StripTrailingAsciiWhitespace(line))), "\n");
}

}  // namespace ramvol::cli
