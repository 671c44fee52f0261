// Which volumes a command means: by names, patterns and labels.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_VOLUME_SELECTION_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_VOLUME_SELECTION_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "client/client.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {

struct VolumeSelection {
  // Names, and patterns with *, ? and [...] as a shell has them.
  std::vector<std::string> names;
  // Conditions on labels with commas between them, all of which must hold:
  // KEY=VALUE, KEY!=VALUE, KEY (it is there), !KEY (it is not).
  std::string selector;

  // Whether it says by a rule, not by names, which volumes are meant.
  bool by_rule() const;
  bool empty() const { return names.empty() && selector.empty(); }
};

// Declares NAME... and --selector.
void AddSelection(CLI::App* command, VolumeSelection* selection);

// The volumes in order of names; all of them for an empty selection.
//
// NOT_FOUND when there is none of a name, or none of a pattern; a usage error
// for a selector that is none. A selector may fit no volume.
absl::StatusOr<std::vector<v1::Volume>> SelectVolumes(
    const Client& client, const VolumeSelection& selection);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_VOLUME_SELECTION_H_
