// The flags of a volume's UsageLimits, of `create`, `import` and `set`.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_USAGE_FLAGS_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_USAGE_FLAGS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "google/protobuf/field_mask.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {

class UsageFlags {
 public:
  // Declares the flags. This object must outlive the parsing.
  std::vector<CLI::Option*> AddTo(CLI::App* command);

  bool given() const { return !given_.empty(); }
  // Sets what was given.
  void Fill(v1::UsageLimits* limits) const;
  // And names it, as fields of "limits".
  void Fill(v1::UsageLimits* limits, google::protobuf::FieldMask* mask) const;

 private:
  // By the names of fields.
  std::map<std::string, int64_t> given_;
};

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_USAGE_FLAGS_H_
