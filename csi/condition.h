// Whether something is wrong with a volume.
#ifndef RAMVOL_CSI_CONDITION_H_
#define RAMVOL_CSI_CONDITION_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {

enum class Cause : uint8_t {
  kNone,          // All is in order.
  kDamaged,       // Content is lost.
  kUnreachable,   // ramvold does not answer.
  kServerMemory,  // Its memory limit is near.
  kVolumeMemory,  // The volume's own memory limit is near.
  kDeadDevice,    // The block device has lost ramvold for good.
  kCount,
};
inline constexpr size_t kCauses = static_cast<size_t>(Cause::kCount);

// As metrics have it: "server_memory".
const char* NameOf(Cause cause);

struct Condition {
  Cause cause = Cause::kNone;
  std::string message;  // For people.

  bool abnormal() const { return cause != Cause::kNone; }
};

// A memory limit is near from 90 % on, so this is known before writes fail.
// `server` is ramvold's answer to GetServerInfo. Asks ramvold once more about a
// volume with a limit of its own. Knows nothing of devices.
Condition ConditionOf(const Client& client, const v1::Volume& volume,
                      const absl::StatusOr<v1::GetServerInfoResponse>& server);

// Of a volume whose block device is dead.
Condition DeadDevice();
// Of a volume whose file system the kernel has stopped.
Condition StoppedFileSystem();

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_CONDITION_H_
