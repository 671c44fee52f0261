#include "client/cli/output/words.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace ramvol::cli {
namespace {

std::string Digits(double value, const char* unit) {
  return value < 99.95 ? absl::StrFormat("%.1f %s", value, unit)
                       : absl::StrFormat("%.0f %s", value, unit);
}

}  // namespace

std::string CountOf(int64_t count, const std::string& noun,
                    const std::string& plural) {
  if (count == 1) return absl::StrCat("1 ", noun);
  return absl::StrCat(count, " ", plural.empty() ? noun + "s" : plural);
}

std::string LatencyText(double microseconds) {
  if (microseconds <= 0) return "-";
  if (microseconds < 999.5) return Digits(microseconds, "us");
  if (microseconds < 999'500) return Digits(microseconds / 1e3, "ms");
  return Digits(microseconds / 1e6, "s");
}

}  // namespace ramvol::cli
