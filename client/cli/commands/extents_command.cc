#include "client/cli/commands/extents_command.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file_error.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/open_volume.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/cli/output/message_text.h"
#include "client/cli/transfer/extent_walk.h"
#include "client/remote_volume.h"

namespace ramvol::cli {
namespace {

// Numbers of 64 bits are strings in protobuf's JSON.
std::string JsonNumber(int64_t value) {
  return absl::StrCat("\"", value, "\"");
}

// Text is printed when there is this much of it.
constexpr size_t kPrintBytes = 64 << 10;

struct ExtentsArguments {
  std::string name;
  std::optional<int64_t> offset;
  std::optional<int64_t> length;
  bool totals = false;
};

// Prints an output::v1::ExtentsOutput, or a table, while the extents come. So
// the memory for it does not grow with their number.
class ExtentsPrinter {
 public:
  ExtentsPrinter(const Invocation& invocation, int64_t end, bool totals_only)
      : invocation_(invocation),
        width_(std::max<int>(absl::StrCat(end).size(), 6)),
        totals_only_(totals_only) {
    if (totals_only_) return;
    text_ = Json()   ? "{\n \"extents\": ["
            : Yaml() ? "extents:\n"
                     : absl::StrFormat("%*s  %*s  STATE\n", width_, "OFFSET",
                                       width_, "LENGTH");
  }

  absl::Status Add(const Extent& extent) {
    ++count_;
    (extent.hole ? hole_bytes_ : data_bytes_) += extent.length;
    if (totals_only_) return absl::OkStatus();
    if (Json()) {
      absl::StrAppend(&text_, count_ == 1 ? "\n" : ",\n",
                      "  {\"offset\": ", JsonNumber(extent.offset),
                      ", \"length\": ", JsonNumber(extent.length),
                      ", \"hole\": ", extent.hole ? "true" : "false", "}");
    } else if (Yaml()) {
      absl::StrAppend(&text_, "  - hole: ", extent.hole ? "true" : "false",
                      "\n    length: ", JsonNumber(extent.length),
                      "\n    offset: ", JsonNumber(extent.offset), "\n");
    } else {
      absl::StrAppendFormat(&text_, "%*d  %*d  %s\n", width_, extent.offset,
                            width_, extent.length,
                            extent.hole ? "hole" : "data");
    }
    return text_.size() < kPrintBytes ? absl::OkStatus() : Flush();
  }

  absl::Status Finish() {
    if (Json()) {
      FinishJson();
    } else if (Yaml()) {
      absl::StrAppend(&text_, "extentCount: ", JsonNumber(count_),
                      "\ndataBytes: ", JsonNumber(data_bytes_),
                      "\nholeBytes: ", JsonNumber(hole_bytes_), "\n");
    } else {
      absl::StrAppend(&text_, totals_only_ ? "" : "\n", "Extents:  ", count_,
                      "\n", "Data:     ", FormatBytes(data_bytes_), "\n",
                      "Holes:    ", FormatBytes(hole_bytes_), "\n");
    }
    return Flush();
  }

 private:
  bool Json() const {
    return invocation_.flags().output == OutputFormat::kJson;
  }
  bool Yaml() const {
    return invocation_.flags().output == OutputFormat::kYaml;
  }

  void FinishJson() {
    absl::StrAppend(&text_, totals_only_ ? "{\n" : "\n ],\n",
                    " \"extentCount\": ", JsonNumber(count_),
                    ",\n \"dataBytes\": ", JsonNumber(data_bytes_),
                    ",\n \"holeBytes\": ", JsonNumber(hole_bytes_), "\n}\n");
  }

  absl::Status Flush() {
    absl::Status printed = invocation_.Print(text_);
    text_.clear();
    return printed;
  }

  const Invocation& invocation_;
  const int width_;
  const bool totals_only_;
  std::string text_;
  int64_t count_ = 0;
  int64_t data_bytes_ = 0;
  int64_t hole_bytes_ = 0;
};

absl::Status Extents(const Invocation& invocation,
                     const ExtentsArguments& arguments) {
  if (invocation.names()) return NoNames();
  absl::StatusOr<OpenVolume> volume = OpenByName(invocation, arguments.name);
  if (!volume.ok()) return volume.status();
  const int64_t size = volume->settings.size_bytes();
  const int64_t offset = arguments.offset.value_or(0);
  const int64_t length =
      arguments.length.value_or(std::max<int64_t>(size - offset, 0));
  absl::Status in_range = CheckRange(volume->settings, offset, length);
  if (!in_range.ok()) return in_range;
  ExtentsPrinter printer(invocation, offset + length, arguments.totals);
  absl::Status walked =
      WalkExtents(volume->remote, offset, length, [&](const Extent& extent) {
        if (invocation.context().interrupted->load()) return InterruptedError();
        return printer.Add(extent);
      });
  return walked.ok() ? printer.Finish() : walked;
}

}  // namespace

void AddExtentsCommand(CommandSet& commands) {
  auto arguments = std::make_shared<ExtentsArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "extents", "List which parts of a volume hold data",
      [&invocation, arguments] { return Extents(invocation, *arguments); });
  AddVolumeName(command, &arguments->name);
  AddSize(command, "--offset", &arguments->offset, "Where to begin");
  AddSize(command, "--length", &arguments->length,
          "How many bytes (default: to the end)");
  command->add_flag("--totals", arguments->totals, "Only the sums");
}

}  // namespace ramvol::cli
