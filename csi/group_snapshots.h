// Snapshots that were made together.
#ifndef RAMVOL_CSI_GROUP_SNAPSHOTS_H_
#define RAMVOL_CSI_GROUP_SNAPSHOTS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "csi/volumes.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {

// A group is what its members' labels say: it has no other record. Borrows
// `volumes`. Thread-safe; the caller calls one at a time for each group. Errors
// of calls to ramvold come back as they are.
class GroupSnapshots {
 public:
  explicit GroupSnapshots(const Volumes* volumes) : volumes_(volumes) {}

  // The snapshots, if they are there as Create makes them.
  //
  // NOT_FOUND: there is no such group. ALREADY_EXISTS: the group has other
  // volumes. INVALID_ARGUMENT: a volume comes twice.
  absl::StatusOr<std::vector<v1::Snapshot>> FindMade(
      const std::string& group, const std::vector<std::string>& volumes) const;
  // Makes a snapshot of each volume, all at one instant or none; or finds them
  // as FindMade does.
  //
  // The errors of FindMade, but NOT_FOUND: there is no such volume.
  // INVALID_ARGUMENT: there are more than 100.
  absl::StatusOr<std::vector<v1::Snapshot>> Create(
      const std::string& group, const std::vector<std::string>& volumes) const;

  // NOT_FOUND: there is no such group. INVALID_ARGUMENT: its members are others
  // than `snapshots`, handles in any order.
  absl::StatusOr<std::vector<v1::Snapshot>> Find(
      const std::string& group,
      const std::vector<std::string>& snapshots) const;

  // OK as well when there is none, or when some are gone. INVALID_ARGUMENT:
  // the group has members that are not in `snapshots`, or one of those is not
  // the group's. FAILED_PRECONDITION: a member is attached.
  absl::Status Delete(const std::string& group,
                      const std::vector<std::string>& snapshots) const;

 private:
  // By name; empty if there is no such group.
  absl::StatusOr<std::vector<v1::Snapshot>> MembersOf(
      const std::string& group) const;
  // Unless it is the group's, or gone.
  absl::Status CheckMember(const std::string& group,
                           const std::string& snapshot) const;

  const Volumes* const volumes_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_GROUP_SNAPSHOTS_H_
