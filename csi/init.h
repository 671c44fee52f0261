// What the first process of a container owes to those that it adopts.
#ifndef RAMVOL_CSI_INIT_H_
#define RAMVOL_CSI_INIT_H_

namespace ramvol::csi_driver {

// Does nothing unless this process has the number 1. Else it goes on as a
// child. Number 1 stays behind: it takes the exit codes of processes whose
// parents have ended, which would otherwise stay as zombies, passes signals on
// to the child, and ends as the child ends. Call it before any thread starts.
//
// Whether it had the number 1: all that this process starts ends with that.
bool LeaveInitBehind();

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_INIT_H_
