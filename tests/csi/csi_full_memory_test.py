#!/usr/bin/python3
"""Pods fill what their volumes have of memory: each file system loses nothing that fsync
has confirmed, whatever the kernel does with it, and goes on once there is memory again, at
once or for the next pod. Prints what pods saw. By FUSE, or by nbd with CSI_ATTACH=nbd.
Arguments: the paths of csi.proto, ramvold, ramvol and ramvol-csi."""

import base64
import contextlib
import errno
import hashlib
import os
import sys
import time
import unittest

import csi_client
import csi_node
import grpc
from csi_file_systems import (
    STOPPED,
    has_stopped,
    make_folder,
    says_that_it_is_dead,
    sync,
)
from csi_node import MIB

CSI = None  # The module of csi.proto.
SIZE = 400 * MIB
LIMIT = 64 * MIB
REFUSED = (errno.EIO, errno.ENOSPC, errno.EROFS)


class Filler:
    """Writes files of a MiB that do not compress, each with an fsync."""

    def __init__(self, folder):
        self.folder = folder
        self.digests = []  # Of those that fsync has confirmed.

    def fill(self):
        """Returns what refused to go on: the call, and its error."""
        for number in range(SIZE // MIB):
            call = "open"
            content = os.urandom(MIB)
            try:
                with open(f"{self.folder}/{number}", "wb", buffering=0) as file:
                    call = "write"
                    file.write(content)
                    call = "fsync"
                    os.fsync(file.fileno())
            except OSError as error:
                return call, error.errno
            self.digests.append(hashlib.sha256(content).hexdigest())
        raise AssertionError("the memory has no limit")

    def lost(self):
        """The numbers of confirmed files that are not what was written."""
        return [
            number
            for number, digest in enumerate(self.digests)
            if hash_of(f"{self.folder}/{number}") != digest
        ]


def make_names(pod):
    """In a folder that gets larger, and does not compress."""
    folder = f"{pod.target}/{time.monotonic_ns()}"
    os.mkdir(folder)
    for _ in range(200):
        name = base64.urlsafe_b64encode(os.urandom(180)).decode()
        with open(f"{folder}/{name}", "wb"):
            pass
    sync(folder)


def hash_of(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class CsiFullMemoryTest(unittest.TestCase):
    def setUp(self):
        self.node = self.enterContext(csi_node.Node(*sys.argv[2:5], memory="512M"))
        self.node.start_server()
        self.node.start_driver("--overcommit=50")
        self.client = csi_client.Client(self.node.endpoint, CSI)
        self.addCleanup(self.client.close)

    def start_pod(self, fs_type, **parameters):
        volume = self.client.CreateVolume(
            name=f"full-{fs_type}",
            capacity_range={"required_bytes": SIZE},
            volume_capabilities=[self.client.capability(fs_type=fs_type)],
            parameters=parameters,
        ).volume
        pod = csi_client.Pod(self.node, self.client, volume.volume_id, fs_type=fs_type)
        return pod.start()

    def fill(self, pod, fs_type, structures):
        """Then, if wanted, until the file system cannot write its own structures, too."""
        filler = Filler(pod.target)
        call, error = filler.fill()
        self.assertIn(error, REFUSED)
        self.assertGreater(len(filler.digests), 0)
        stopped = has_stopped(pod, fs_type)
        for _ in range(50):
            if structures and not stopped:
                with contextlib.suppress(OSError):
                    make_names(pod)
                stopped = has_stopped(pod, fs_type)
        print(
            f"{fs_type}: {call} said {errno.errorcode[error]} after "
            f"{len(filler.digests)} MiB; it has {'' if stopped else 'not '}stopped",
            flush=True,
        )
        return filler, stopped

    def recover(self, pod, fs_type, filler, stopped):
        """Once there is memory."""
        if stopped:
            says_that_it_is_dead(self.client, pod, "file system has stopped")
            with contextlib.suppress(grpc.RpcError):
                # The first time, it may tell what it could not write.
                pod.end()
            pod.end()
            pod.start()
        csi_node.wait_until("writes", lambda: self.goes_on(pod))
        self.assertEqual(filler.lost(), [])
        stats = self.client.NodeGetVolumeStats(volume_id=pod.id, volume_path=pod.target)
        self.assertFalse(stats.volume_condition.abnormal, stats)
        pod.end()
        self.client.DeleteVolume(volume_id=pod.id)

    def goes_on(self, pod):
        with contextlib.suppress(OSError):
            make_folder(pod)
            return True
        return False

    def test_a_volume_at_its_limit(self):
        for fs_type in STOPPED:
            with self.subTest(fs_type):
                pod = self.start_pod(fs_type, memoryLimit=f"{LIMIT // MIB}Mi")
                filler, stopped = self.fill(pod, fs_type, structures=False)
                self.node.ramvol("set", pod.id, "--memory-limit=200M")
                self.recover(pod, fs_type, filler, stopped)

    def test_a_node_at_its_limit(self):
        """What takes the memory is another volume, which goes."""
        for fs_type in STOPPED:
            with self.subTest(fs_type):
                pod = self.start_pod(fs_type)
                self.node.ramvol("create", "other", "1G")
                self.node.ramvol("write", "other", "0", input=os.urandom(400 * MIB))
                filler, stopped = self.fill(pod, fs_type, structures=True)
                self.node.ramvol("rm", "other")
                self.recover(pod, fs_type, filler, stopped)


if __name__ == "__main__":
    csi_node.own_mounts()
    CSI = csi_client.load(os.path.realpath(sys.argv[1]))
    unittest.main(argv=[sys.argv[0], *sys.argv[5:]], verbosity=2)
