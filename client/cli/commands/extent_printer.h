// Prints lists of extents.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_EXTENT_PRINTER_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_EXTENT_PRINTER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/invocation.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {

// What the two states of an extent are called.
struct ExtentWords {
  const char* json_field;  // Of an extent; true when the state is set.
  const char* set;         // In the table.
  const char* unset;
  const char* json_set_bytes;  // The sums.
  const char* json_unset_bytes;
  const char* set_title;
  const char* unset_title;
};

// Which part of a volume to list, and how.
struct ExtentFlags {
  std::optional<int64_t> offset;
  std::optional<int64_t> length;
  bool totals = false;
};
void AddExtentFlags(CLI::App* command, ExtentFlags* flags);

struct ExtentRange {
  int64_t offset = 0;
  int64_t end = 0;
};
// OUT_OF_RANGE unless it lies in the volume.
absl::StatusOr<ExtentRange> RangeOf(const v1::Volume& volume,
                                    const ExtentFlags& flags);

// Prints an output::v1::ExtentsOutput or DiffOutput, or its table, as the
// extents come, so that a volume with many needs no memory. Not thread-safe.
class ExtentPrinter {
 public:
  // Borrows `invocation` and `words`. `end` is the end of the last extent.
  ExtentPrinter(const Invocation& invocation, const ExtentWords& words,
                int64_t end, bool totals_only);

  // `shown` false: only in the sums.
  absl::Status Add(int64_t offset, int64_t length, bool set, bool shown = true);
  absl::Status Finish();

 private:
  bool Json() const {
    return invocation_.flags().output == OutputFormat::kJson;
  }
  bool Yaml() const {
    return invocation_.flags().output == OutputFormat::kYaml;
  }
  void FinishJson();
  absl::Status Flush();

  const Invocation& invocation_;
  const ExtentWords& words_;
  const int width_;
  const bool totals_only_;
  std::string text_;
  int64_t count_ = 0;
  int64_t set_bytes_ = 0;
  int64_t unset_bytes_ = 0;
};

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_EXTENT_PRINTER_H_
