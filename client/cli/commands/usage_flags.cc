#include "client/cli/commands/usage_flags.h"

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/size.h"
#include "google/protobuf/descriptor.h"

namespace ramvol::cli {
namespace {

struct Flag {
  const char* name;
  const char* field;
  bool is_size;
  const char* description;
};

constexpr Flag kFlags[] = {
    {"--iops-total", "iops_total", false,
     "Most reads, writes and zeroes a second, of all clients together; "
     "\"none\", or \"default\" for the server's limit"},
    {"--iops-total-max", "iops_total_max", false,
     "Most of them at once after a pause (default a tenth of a second's)"},
    {"--bps-total", "bps_total", true, "The same of the bytes that they move"},
    {"--bps-total-max", "bps_total_max", true,
     "The same of the bytes at once after a pause"},
    {"--io-streams", "io_streams", false, "Most Io streams at a time"},
    {"--nbd-connections", "nbd_connections", false,
     "Most NBD connections at a time"},
};

int64_t ParseOrThrow(const Flag& flag, const std::string& text) {
  if (text == "none") return -1;
  if (text == "default") return 0;
  int64_t number = 0;
  if (flag.is_size) {
    const absl::StatusOr<uint64_t> size = ParseSize(text);
    if (!size.ok()) {
      throw CLI::ValidationError(flag.name,
                                 std::string(size.status().message()));
    }
    number = static_cast<int64_t>(*size);
  } else if (!absl::SimpleAtoi(text, &number)) {
    throw CLI::ValidationError(
        flag.name, absl::StrCat("\"", text, "\" is no whole number"));
  }
  if (number > 0) return number;
  throw CLI::ValidationError(
      flag.name, absl::StrCat("it is ", text, "; give 1 or more, or none"));
}

}  // namespace

std::vector<CLI::Option*> UsageFlags::AddTo(CLI::App* command) {
  std::vector<CLI::Option*> options;
  for (const Flag& flag : kFlags) {
    options.push_back(command
                          ->add_option_function<std::string>(
                              flag.name,
                              [this, flag](const std::string& text) {
                                given_[flag.field] = ParseOrThrow(flag, text);
                              },
                              flag.description)
                          ->type_name(flag.is_size ? "SIZE" : "N"));
  }
  return options;
}

void UsageFlags::Fill(v1::UsageLimits* limits) const {
  for (const auto& [name, value] : given_) {
    const auto* field = v1::UsageLimits::descriptor()->FindFieldByName(name);
    limits->GetReflection()->SetInt64(limits, field, value);
  }
}

void UsageFlags::Fill(v1::UsageLimits* limits,
                      google::protobuf::FieldMask* mask) const {
  Fill(limits);
  for (const auto& [name, value] : given_) {
    mask->add_paths(absl::StrCat("limits.", name));
  }
}

}  // namespace ramvol::cli
