#include "client/cli/commands/extent_printer.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/open_volume.h"
#include "client/cli/output/message_text.h"

namespace ramvol::cli {
namespace {

// As protobuf's JSON has numbers of 64 bits.
std::string JsonNumber(int64_t value) {
  return absl::StrCat("\"", value, "\"");
}

// Text is printed when this much has gathered.
constexpr size_t kPrintBytes = 64 << 10;

}  // namespace

void AddExtentFlags(CLI::App* command, ExtentFlags* flags) {
  AddSize(command, "--offset", &flags->offset, "Where to begin");
  AddSize(command, "--length", &flags->length,
          "How many bytes (default: to the end)");
  command->add_flag("--totals", flags->totals, "Only the sums");
}

absl::StatusOr<ExtentRange> RangeOf(const v1::Volume& volume,
                                    const ExtentFlags& flags) {
  const int64_t offset = flags.offset.value_or(0);
  const int64_t length =
      flags.length.value_or(std::max<int64_t>(volume.size_bytes() - offset, 0));
  absl::Status in_range = CheckRange(volume, offset, length);
  if (!in_range.ok()) return in_range;
  return ExtentRange{offset, offset + length};
}

ExtentPrinter::ExtentPrinter(const Invocation& invocation,
                             const ExtentWords& words, int64_t end,
                             bool totals_only)
    : invocation_(invocation),
      words_(words),
      width_(std::max<int>(absl::StrCat(end).size(), 6)),
      totals_only_(totals_only) {
  if (totals_only_) return;
  text_ = Json()   ? "{\n \"extents\": ["
          : Yaml() ? "extents:\n"
                   : absl::StrFormat("%*s  %*s  STATE\n", width_, "OFFSET",
                                     width_, "LENGTH");
}

absl::Status ExtentPrinter::Add(int64_t offset, int64_t length, bool set,
                                bool shown) {
  (set ? set_bytes_ : unset_bytes_) += length;
  if (!shown) return absl::OkStatus();
  ++count_;
  if (totals_only_) return absl::OkStatus();
  const char* const truth = set ? "true" : "false";
  if (Json()) {
    absl::StrAppend(&text_, count_ == 1 ? "\n" : ",\n",
                    "  {\"offset\": ", JsonNumber(offset),
                    ", \"length\": ", JsonNumber(length), ", \"",
                    words_.json_field, "\": ", truth, "}");
  } else if (Yaml()) {
    absl::StrAppend(&text_, "  - ", words_.json_field, ": ", truth,
                    "\n    length: ", JsonNumber(length),
                    "\n    offset: ", JsonNumber(offset), "\n");
  } else {
    absl::StrAppendFormat(&text_, "%*d  %*d  %s\n", width_, offset, width_,
                          length, set ? words_.set : words_.unset);
  }
  return text_.size() < kPrintBytes ? absl::OkStatus() : Flush();
}

absl::Status ExtentPrinter::Finish() {
  if (Json()) {
    FinishJson();
  } else if (Yaml()) {
    absl::StrAppend(&text_, "extentCount: ", JsonNumber(count_), "\n",
                    words_.json_unset_bytes, ": ", JsonNumber(unset_bytes_),
                    "\n", words_.json_set_bytes, ": ", JsonNumber(set_bytes_),
                    "\n");
  } else {
    absl::StrAppend(&text_, totals_only_ ? "" : "\n", "Extents:  ", count_,
                    "\n", words_.unset_title, FormatBytes(unset_bytes_), "\n",
                    words_.set_title, FormatBytes(set_bytes_), "\n");
  }
  return Flush();
}

void ExtentPrinter::FinishJson() {
  absl::StrAppend(&text_, totals_only_ ? "{\n" : "\n ],\n",
                  " \"extentCount\": ", JsonNumber(count_), ",\n \"",
                  words_.json_unset_bytes, "\": ", JsonNumber(unset_bytes_),
                  ",\n \"", words_.json_set_bytes,
                  "\": ", JsonNumber(set_bytes_), "\n}\n");
}

absl::Status ExtentPrinter::Flush() {
  absl::Status printed = invocation_.Print(text_);
  text_.clear();
  return printed;
}

}  // namespace ramvol::cli
