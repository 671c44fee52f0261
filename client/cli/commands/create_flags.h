// The flags that describe a new volume, of `create` and `import`.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_CREATE_FLAGS_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_CREATE_FLAGS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/time/time.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/usage_flags.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {

class CreateFlags {
 public:
  // Declares the flags. This object must outlive the parsing.
  void AddTo(CLI::App* command);

  // The flags that were given, such as "--level, --label". "" when none were.
  std::string Given() const;
  // A request with everything but name and size.
  v1::CreateVolumeRequest Request() const;

 private:
  std::string allocator_;
  std::optional<int> level_;
  std::optional<int> merge_level_;
  std::optional<int64_t> min_frame_;
  std::optional<int64_t> max_frame_;
  std::optional<int64_t> memory_limit_;
  bool read_only_ = false;
  std::vector<Label> labels_;
  std::optional<absl::Duration> ttl_;
  UsageFlags usage_;
  std::vector<CLI::Option*> options_;
};

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_CREATE_FLAGS_H_
