#include "client/cli/commands/create_flags.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands/command_set.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

// The server refuses values that are too large. Truncation must not turn such a
// value into an allowed one.
int32_t ToInt32(int64_t value) {
  return static_cast<int32_t>(
      std::min<int64_t>(value, std::numeric_limits<int32_t>::max()));
}

}  // namespace

void CreateFlags::AddTo(CLI::App* command) {
  options_ = {
      Restrict(command->add_option(
                   "--allocator", allocator_,
                   "How it holds its bytes (default zstd): compressed, sparse, "
                   "or with all memory reserved at once"),
               {"zstd", "sparse", "malloc"}),
      AddInt(command, "--level", &level_,
             "zstd level for writes, -50 to 19 (default 1)")
          ->type_name("LEVEL"),
      AddInt(command, "--merge-level", &merge_level_,
             "zstd level for what has gone cold (default 8)")
          ->type_name("LEVEL"),
      AddSize(command, "--min-frame", &min_frame_,
              "Least that is compressed together: 4K to 64K, a power of two "
              "(default 4K)"),
      AddSize(command, "--max-frame", &max_frame_,
              "Most that is compressed together (default 64K)"),
      AddSize(command, "--memory-limit", &memory_limit_,
              "Most memory that it may take (default 0, no limit of its own)"),
      command->add_flag("--read-only", read_only_, "Refuse writes"),
      AddLabels(command, &labels_, "A label; may be repeated"),
      AddTtl(command, &ttl_,
             "Delete it when it was not used for so long, and no client has it "
             "attached: 90m, 2h, 7d"),
  };
  for (CLI::Option* option : usage_.AddTo(command)) options_.push_back(option);
}

std::string CreateFlags::Given() const {
  std::vector<std::string> given;
  for (const CLI::Option* option : options_) {
    if (option->count() > 0) given.push_back(option->get_name());
  }
  return absl::StrJoin(given, ", ");
}

v1::CreateVolumeRequest CreateFlags::Request() const {
  v1::CreateVolumeRequest request;
  v1::Allocator allocator = v1::ALLOCATOR_UNSPECIFIED;
  if (!allocator_.empty()) {
    v1::Allocator_Parse(
        absl::StrCat("ALLOCATOR_", absl::AsciiStrToUpper(allocator_)),
        &allocator);
  }
  request.set_allocator(allocator);
  request.set_zstd_level(level_.value_or(0));
  request.set_merge_zstd_level(merge_level_.value_or(0));
  request.set_min_frame_bytes(ToInt32(min_frame_.value_or(0)));
  request.set_max_frame_bytes(ToInt32(max_frame_.value_or(0)));
  request.set_memory_limit_bytes(memory_limit_.value_or(0));
  request.set_read_only(read_only_);
  if (usage_.given()) usage_.Fill(request.mutable_limits());
  if (ttl_.has_value()) *request.mutable_ttl() = ToProto(*ttl_);
  for (const Label& label : labels_) {
    (*request.mutable_labels())[label.key] = label.value;
  }
  return request;
}

}  // namespace ramvol::cli
