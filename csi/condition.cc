#include "csi/condition.h"

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {
namespace {

constexpr double kPressure = 0.9;

bool IsNear(int64_t used, int64_t limit) {
  return limit > 0 &&
         static_cast<double>(used) >= kPressure * static_cast<double>(limit);
}

std::string Pressure(const char* who, int64_t used, int64_t limit) {
  const int percent = static_cast<int>(100.0 * static_cast<double>(used) /
                                       static_cast<double>(limit));
  return absl::StrCat(who, " uses ", percent,
                      "% of its memory limit; writes fail when it is full");
}

}  // namespace

const char* NameOf(Cause cause) {
  switch (cause) {
    case Cause::kDamaged:
      return "damaged";
    case Cause::kUnreachable:
      return "unreachable";
    case Cause::kServerMemory:
      return "server_memory";
    case Cause::kVolumeMemory:
      return "volume_memory";
    case Cause::kDeadDevice:
      return "dead_device";
    case Cause::kNone:
    case Cause::kCount:
      break;
  }
  return "none";
}

Condition ConditionOf(const Client& client, const v1::Volume& volume,
                      const absl::StatusOr<v1::GetServerInfoResponse>& server) {
  if (volume.state() == v1::VOLUME_STATE_DAMAGED) {
    return {Cause::kDamaged, "its content was lost: ramvold found it damaged"};
  }
  if (!server.ok()) {
    return {Cause::kUnreachable,
            absl::StrCat("ramvold does not answer: ",
                         std::string(server.status().message()))};
  }
  if (IsNear(server->memory_used_bytes(), server->memory_limit_bytes())) {
    return {Cause::kServerMemory,
            Pressure("ramvold", server->memory_used_bytes(),
                     server->memory_limit_bytes())};
  }
  if (volume.memory_limit_bytes() > 0) {
    const auto stats = client.StatVolume(volume.name());
    // What it shares with snapshots and clones does not count for its limit.
    if (stats.ok() && IsNear(stats->own_bytes(), stats->memory_limit_bytes())) {
      return {Cause::kVolumeMemory,
              Pressure("it", stats->own_bytes(), stats->memory_limit_bytes())};
    }
  }
  return {Cause::kNone, "in order"};
}

Condition StoppedFileSystem() {
  return {Cause::kDeadDevice,
          "its file system has stopped after I/O errors, as when ramvold was "
          "away for too long: writes fail; delete all pods that use it"};
}

Condition DeadDevice() {
  return {Cause::kDeadDevice,
          "its device has lost ramvold: reads and writes fail; delete the pod"};
}

}  // namespace ramvol::csi_driver
