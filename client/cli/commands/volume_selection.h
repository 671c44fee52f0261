// Selects the volumes of a command by names, patterns and labels.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_VOLUME_SELECTION_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_VOLUME_SELECTION_H_

#include <functional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "client/client.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {

struct VolumeSelection {
  // Names, and patterns with *, ? and [...], as in a shell.
  std::vector<std::string> names;
  // Conditions on labels, separated by commas. All must hold: KEY=VALUE,
  // KEY!=VALUE, KEY (there is such a label), !KEY (there is none).
  std::string selector;

  // Whether a pattern or a selector, not only names, selects the volumes.
  bool by_rule() const;
  bool empty() const { return names.empty() && selector.empty(); }
};

// Declares NAME... and --selector.
void AddSelection(CLI::App* command, VolumeSelection* selection);

// The selected volumes, in the order of their names. An empty selection means
// all volumes.
//
// NOT_FOUND when a name or a pattern fits no volume. A usage error for a
// malformed selector. It is no error when a selector fits no volume.
absl::StatusOr<std::vector<v1::Volume>> SelectVolumes(
    const Client& client, const VolumeSelection& selection);

// The same of volumes that come one after the other. Names need not be those of
// volumes that there are.
struct VolumeFilter {
  std::vector<std::string> names;
  // Whether a volume's labels fit; null without a selector.
  std::function<bool(const v1::Volume&)> fits_labels;

  // Whether there are no names, or it is one, or fits a pattern.
  bool FitsName(const std::string& name) const;
};
// A usage error for a selector that is none.
absl::StatusOr<VolumeFilter> MakeFilter(const VolumeSelection& selection);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_VOLUME_SELECTION_H_
