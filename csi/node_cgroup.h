// Lets a process outlive the container that it was started in.
#ifndef RAMVOL_CSI_NODE_CGROUP_H_
#define RAMVOL_CSI_NODE_CGROUP_H_

#include <string>

#include "absl/status/status.h"

namespace ramvol::csi_driver {

// With a container ends what is in its PID namespace, and what is in its
// cgroups. In a pod with hostPID, process numbers are the node's: number 1 is
// not of the container. A process there that leaves the cgroups as well goes
// on.
//
// `proc` is where the kernel shows processes; tests replace it.

// Whether this process is in a container with the node's process numbers:
// number 1 has another root, which this process may see.
bool IsInContainerOfNode(const std::string& proc = "/proc");

// Whether EnterNodeCgroup would work, as far as one can tell without moving:
// the node's files can be opened.
absl::Status CheckNodeCgroup(const std::string& proc = "/proc");

// Moves this process to cgroups of the node: into the folder "ramvol-csi" of
// cgroup v2's root, which is made, and to the root of each hierarchy of v1,
// where a folder would need limits of its own. Nothing accounts for its memory
// then but the node as a whole. Call it before any thread starts, in a
// container with the node's process numbers.
//
// FAILED_PRECONDITION says what is in the way. Then the process may have left
// some hierarchies, and ends with its container.
absl::Status EnterNodeCgroup(const std::string& proc = "/proc");

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_NODE_CGROUP_H_
