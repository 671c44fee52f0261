// What Kubernetes calls volumes and snapshots, and what ramvold calls them.
#ifndef RAMVOL_CSI_VOLUME_HANDLE_H_
#define RAMVOL_CSI_VOLUME_HANDLE_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace ramvol::csi_driver {

// The specification's bound of names and ids.
inline constexpr size_t kMaxHandleBytes = 128;

// Labels of what the driver made. Only that is listed and deleted. kImage alone
// is of others.
namespace label {
// With which all of them begin.
inline constexpr char kPrefix[] = "csi-";
inline constexpr char kHandle[] = "csi-handle";
// Of a snapshot: the handle of its volume.
inline constexpr char kSource[] = "csi-source";
// Of a snapshot: the handle of the group that it was made with.
inline constexpr char kGroup[] = "csi-group";
// The file system that the driver has made in the volume, or found in a copy:
// "TYPE@NAME", so that it counts under this name whatever the handle is.
inline constexpr char kFormatted[] = "csi-formatted";
// The one that it is making in a volume that was empty, in the same form: what
// the volume holds is nobody's.
inline constexpr char kFormatting[] = "csi-formatting";
// Of an inline volume: where it is published. It ends there.
inline constexpr char kEphemeral[] = "csi-ephemeral";
// Its own name, for a volume or snapshot that inline volumes may clone. So a
// copy that somebody fills under another name is not offered, though labels
// travel. Whoever runs ramvold sets it, or ramvol-image, never the driver.
inline constexpr char kImage[] = "csi-image";
// The StorageClass, as its parameter "class" says it.
inline constexpr char kClass[] = "csi-class";
// The node whose driver made it.
inline constexpr char kNode[] = "csi-node";
// "true": it was made anew in place of one that the node had lost.
inline constexpr char kRecreated[] = "csi-recreated";
}  // namespace label

// The name of the volume or snapshot with this handle: the handle itself if it
// is a name of ramvold's that the other form does not take, else "csi-" and 32
// hexadecimal digits that stand for it.
std::string NameOfHandle(std::string_view handle);

// Whether the handle may be of an inline volume, as Kubernetes forms those.
bool MayBeInline(std::string_view handle);

// The handle, and name, of the snapshot of a volume in a group of snapshots.
std::string HandleOfMember(std::string_view group, std::string_view volume);

// INVALID_ARGUMENT unless `handle` has 1 to kMaxHandleBytes bytes, all of them
// printable. `what` is how the error calls it.
absl::Status CheckHandle(std::string_view what, std::string_view handle);

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_VOLUME_HANDLE_H_
