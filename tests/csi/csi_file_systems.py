"""What the kernel does with a file system whose device fails."""

import contextlib
import errno
import os
import time

import csi_node

# What one that the kernel has stopped says to whoever writes.
STOPPED = {"ext4": errno.EROFS, "xfs": errno.EIO, "btrfs": errno.EROFS}


def sync(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(pod):
    """The journal has to be written for it."""
    os.mkdir(f"{pod.target}/{time.monotonic_ns()}")
    sync(pod.target)


def has_stopped(pod, fs_type):
    """What fails without a look at the device fails for good."""
    with contextlib.suppress(OSError):
        make_folder(pod)
    try:
        os.removexattr(pod.target, "trusted.none")
    except OSError as error:
        return error.errno == STOPPED[fs_type]
    return False


def says_that_it_is_dead(client, pod, why="has lost ramvold"):
    def says():
        stats = client.NodeGetVolumeStats(volume_id=pod.id, volume_path=pod.target)
        condition = stats.volume_condition
        return condition.abnormal and why in condition.message

    # The kernel counts an error a little after it has told it.
    csi_node.wait_until(why, says)
