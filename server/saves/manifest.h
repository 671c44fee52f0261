// The file of a save that says what its images are.
#ifndef RAMVOL_SERVER_SAVES_MANIFEST_H_
#define RAMVOL_SERVER_SAVES_MANIFEST_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ramvol/state/v1/state.pb.h"
#include "server/engine/types/options.h"

namespace ramvol::saves {

inline constexpr char kManifestFile[] = "manifest";

// With a magic, a version and a digest.
std::string EncodeManifest(const state::v1::SaveManifest& manifest);
// FAILED_PRECONDITION when it is of another version; INVALID_ARGUMENT when it
// was truncated or changed, or its roots do not refer to each other as they
// should. The messages follow the file's name.
absl::StatusOr<state::v1::SaveManifest> ParseManifest(std::string_view bytes);

// Of a manifest's bytes: what a state_dir knows a save by. Never 0.
uint64_t SaveIdOf(std::string_view bytes);

// The options of a root, and back.
v1::CreateVolumeRequest SettingsOf(const engine::VolumeOptions& options);
engine::VolumeOptions OptionsOf(const v1::CreateVolumeRequest& settings);

}  // namespace ramvol::saves

#endif  // RAMVOL_SERVER_SAVES_MANIFEST_H_
