// The volumes and snapshots of this node's ramvold, as the driver sees them.
#ifndef RAMVOL_CSI_VOLUMES_H_
#define RAMVOL_CSI_VOLUMES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "csi/parameters.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {

struct VolumesOptions {
  // The node's name. The value of the topology's label as well, which
  // Kubernetes bounds to 63 characters though names may be longer.
  std::string node_id;
  // Volumes may promise so many times what is left of the memory limit; 0.1 to
  // 1000.
  double overcommit = 3;

  // INVALID_ARGUMENT names the flag of ramvol-csi, its value and what is
  // accepted.
  absl::Status Validate() const;
};

// What is asked for. 0: nothing.
struct SizeRange {
  uint64_t required_bytes = 0;
  uint64_t limit_bytes = 0;
};

// The size of a new volume: what is required, at least the source's, else the
// default; in whole blocks of 4 KiB. OUT_OF_RANGE when that is beyond the
// limit.
absl::StatusOr<uint64_t> ChooseSize(const SizeRange& range,
                                    uint64_t source_bytes);

// A volume to be made, or to be found as it was made.
struct NewVolume {
  std::string handle;
  Parameters parameters;
  SizeRange size;
  // A volume's name or "@SNAPSHOT", as ramvold calls them; "" without.
  std::string source = {};
  // For an inline volume, where it is to be published.
  std::string ephemeral_target = {};
  // In place of one that is lost.
  bool recreated = false;
};

// Keys and values; "": none.
using Labels = std::vector<std::pair<const char*, std::string>>;

// Thread-safe. Errors of calls to ramvold come back as they are; UNAVAILABLE
// when it cannot be reached.
class Volumes {
 public:
  Volumes(Client client, VolumesOptions options)
      : client_(std::move(client)), options_(std::move(options)) {}

  const std::string& node_id() const { return options_.node_id; }
  const Client& client() const { return client_; }

  // NOT_FOUND: there is no volume of this handle. One that the driver has not
  // made is found by its name, as is a copy under another name of what it has
  // made: that one comes without the original's labels, but with what
  // label::kFormatting and label::kFormatted say of its own name.
  absl::StatusOr<v1::Volume> Find(const std::string& handle) const;
  // NOT_FOUND: the driver has made no such snapshot.
  absl::StatusOr<v1::Snapshot> FindSnapshot(const std::string& handle) const;

  // The volume, if it is there as Create makes it. Its source may be gone by
  // now.
  //
  // NOT_FOUND: there is none of this handle. ALREADY_EXISTS: there is one that
  // is different.
  absl::StatusOr<v1::Volume> FindMade(const NewVolume& wanted) const;
  // Makes the volume, or finds it as FindMade does.
  //
  // The errors of FindMade, but NOT_FOUND: there is no source. OUT_OF_RANGE:
  // see ChooseSize. RESOURCE_EXHAUSTED: it is larger than LargestBytes.
  // FAILED_PRECONDITION: it is inline, and its image is not offered to everyone
  // who may write a pod (label::kImage).
  absl::StatusOr<v1::Volume> Create(const NewVolume& wanted) const;
  // OK as well when there is none. FAILED_PRECONDITION: it is attached, or not
  // the driver's.
  absl::Status Delete(const std::string& handle, absl::Time deadline) const;
  // Lets it grow to what is required; never shrinks it. The errors of Create.
  absl::StatusOr<v1::Volume> Expand(const std::string& handle,
                                    const SizeRange& size) const;

  // The snapshot, if it is there as CreateSnapshot makes it. NOT_FOUND: there
  // is none of this handle. ALREADY_EXISTS: it is of another volume, or of a
  // group.
  absl::StatusOr<v1::Snapshot> FindMadeSnapshot(
      const std::string& handle, const std::string& source_handle) const;
  // Makes the snapshot, or finds it as FindMadeSnapshot does. The errors of
  // that, but NOT_FOUND: there is no such volume.
  absl::StatusOr<v1::Snapshot> CreateSnapshot(
      const std::string& handle, const std::string& source_handle) const;
  // OK as well when there is none. INVALID_ARGUMENT: it is of a group, and only
  // goes with it.
  absl::Status DeleteSnapshot(const std::string& handle) const;

  // Those that the driver made, by name.
  absl::StatusOr<std::vector<v1::Volume>> List() const;
  absl::StatusOr<std::vector<v1::Snapshot>> ListSnapshots() const;

  // Sets labels of the volume, and returns it with all that it has. The others
  // stay, also those that Find leaves out. ABORTED: it has changed since; find
  // it again.
  absl::StatusOr<v1::Volume> Relabel(const v1::Volume& volume,
                                     const Labels& labels) const;
  // Whether all of it is a hole. What devices have in their caches is not in it
  // yet.
  absl::StatusOr<bool> HoldsNothing(const v1::Volume& volume) const;

  // What new volumes may promise: what is left of the memory limit, times the
  // over-commit unless they reserve their memory.
  absl::StatusOr<uint64_t> AvailableBytes(v1::Allocator allocator) const;
  // How large a new volume with these parameters may be: that, and for a clone
  // what it shares with its image. 0: this node does not have the image.
  absl::StatusOr<uint64_t> LargestBytes(const Parameters& parameters) const;

 private:
  // The source that an image is.
  absl::StatusOr<std::string> ResolveImage(const std::string& image,
                                           bool is_inline) const;
  absl::StatusOr<uint64_t> SizeOfSource(const std::string& source) const;
  absl::Status CheckRoom(uint64_t bytes, v1::Allocator allocator) const;

  const Client client_;
  const VolumesOptions options_;
};

// Whether ramvold still has the volume with this uid, which had this name and
// may have another one by now.
absl::StatusOr<bool> HasVolume(const Client& client, const std::string& name,
                               const std::string& uid);
// The handle of what the driver made; else the name.
std::string HandleOf(const v1::Volume& volume);
std::string HandleOf(const v1::Snapshot& snapshot);
// "" without.
std::string LabelOf(const v1::Volume& volume, const char* key);
std::string LabelOf(const v1::Snapshot& snapshot, const char* key);

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_VOLUMES_H_
