"""Every kind of operation, error and mishap that a panel shows, for a while."""

import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time

import nbd

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.dirname(_HERE))

import vhost_wire

KIB, MIB = 1 << 10, 1 << 20
TEXT = b"All work and no play makes Jack a dull boy. " * 1500
NOISE = random.Random(1).randbytes(MIB)

# Two more than have series of their own; those are the first by name.
VOLUMES = ["disk", "grpc", "hog", "mixed", "remote", "spare-1", "spare-2", "tight"]

# How many snapshots stay; at times one more, without series of its own.
SNAPSHOTS = 6


class Load:
    """Runs until stopped. What a thread did not expect fails the test."""

    def __init__(self, programs, seconds):
        self.programs, self.seconds = programs, seconds
        self.over = threading.Event()
        self.failures = []
        for name in VOLUMES:
            limit = {"tight": "2M", "mixed": "128M"}.get(name, "0")
            programs.cli("create", name, "512M", f"--memory-limit={limit}")
        self.threads = [
            threading.Thread(target=self._guard, args=(work,))
            for work in (
                lambda: self._steady("disk", "nbd", "4k", 1500),
                lambda: self._steady("remote", "bridge", "16k", 300),
                self._bursts,
                self._every_nbd_command,
                self._fill_a_volume,
                self._every_grpc_method,
                self._take_snapshots,
                self._fill_the_server,
                self._use_the_bridge,
                self._call_the_driver,
                self._be_a_guest,
                self._break_the_way,
            )
        ]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures

    def _guard(self, work):
        try:
            work()
        except Exception as error:  # Any, to be raised in the main thread.
            self.failures.append(repr(error))

    def _fio(self, volume, way, size, *more):
        """It gives up after ENOSPC or EIO; then it begins again."""
        command = [
            "fio",
            f"--name={volume}",
            "--ioengine=nbd",
            f"--uri={self.programs.uri(volume, way)}",
            "--size=48M",
            f"--bs={size}",
            "--buffer_compress_percentage=60",
            "--time_based",
            *more,
        ]
        while not self.over.wait(0.2):
            fio = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while fio.poll() is None and not self.over.wait(0.2):
                pass
            fio.terminate()
            fio.wait()

    def _steady(self, volume, way, size, rate):
        more = ["--rw=randrw", "--iodepth=8", f"--rate_iops={rate}", "--runtime=1h"]
        more.append("--random_distribution=zipf:1.1")
        self._fio(volume, way, size, *more)

    def _bursts(self):
        """Now and then as many writes as it takes, which the cache throttles."""
        more = ["--rw=randwrite", "--iodepth=32", "--runtime=1"]
        self._fio("disk", "nbd", "4k", "--startdelay=4", *more)

    def _connect(self, volume, way="nbd"):
        handle = nbd.NBD()
        handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        handle.connect_uri(self.programs.uri(volume, way))
        return handle

    def _every_nbd_command(self):
        """All ways to hold a block come about: compressed, raw, a pattern."""
        handle = self._connect("mixed")
        contents = [TEXT, TEXT, NOISE[: len(TEXT)], bytes([7]) * len(TEXT)]
        while not self.over.wait(0.01):
            here, there = (random.randrange(512) * 128 * KIB for _ in range(2))
            for command in (
                lambda: handle.pwrite(random.choice(contents), here),
                lambda: handle.pread(64 * KIB, here),
                lambda: handle.pwrite(TEXT[:4096], there),
                lambda: handle.pread(4 * KIB, there),
                lambda: handle.zero(16 * KIB, there),
                lambda: handle.cache(64 * KIB, there),
                lambda: handle.trim(32 * KIB, there),
                lambda: handle.block_status(64 * MIB, 0, lambda *_: 0),
                lambda: handle.flush(),
            ):
                allow("ENOSPC", command)

    def _fill_a_volume(self):
        """Writes that its own limit refuses, and reads past the end of two."""
        handle = self._connect("tight")
        while not self.over.wait(0.5):
            for at in range(0, 4 * MIB, len(NOISE)):
                allow("ENOSPC", lambda at=at: handle.pwrite(NOISE, at))
            for volume in ("tight", "mixed"):
                past_end = f'{{"volume":"{volume}","offset":1000000000,"length":1}}'
                self.programs.grpcurl("BlockService/Read", past_end, check=False)
            handle.trim(4 * MIB, 0)

    def _fill_the_server(self):
        """Until writes have failed for a while; then it gives all back and rests."""
        handle = self._connect("hog")
        while not self.over.is_set():
            refused = 0
            for at in range(0, 480 * MIB, len(NOISE)):
                refused += allow("ENOSPC", lambda: handle.pwrite(NOISE, at))
                if self.over.wait(0.03) or refused == 20:
                    break
            assert refused or self.over.is_set(), "480 MiB of noise fit into 256"
            handle.trim(480 * MIB, 0)
            self.over.wait(self.seconds / 5)

    def _every_grpc_method(self):
        cli, grpcurl = self.programs.cli, self.programs.grpcurl
        at = '{"volume":"grpc","offset":4096,"length":65536}'
        while not self.over.wait(0.2):
            cli("import", "--existing", "-", "grpc", data=TEXT * 20, check=False)
            cli("stat", "grpc")
            cli("ls")
            cli("show", "none", check=False)
            for method in ("Read", "GetExtents", "Trim", "WriteZeroes"):
                grpcurl(f"BlockService/{method}", at, check=False)
            grpcurl("BlockService/Flush", '{"volume":"grpc"}')

    def _take_snapshots(self):
        """Of volumes that change meanwhile; the oldest go. A clone shares one, and
        changes, too."""
        cli, taken = self.programs.cli, []
        for number in itertools.count():
            volume = ["disk", "grpc", "mixed"][number % 3]
            taken.append(f"{volume}-{number}")
            cli("snapshot", "create", volume, taken[-1], check=False)
            cli("clone", f"@{taken[-1]}", "vm", check=False)
            for at in range(16):
                cli("write", "vm", str(at * 4 * MIB), data=TEXT[:4096], check=False)
            cli("rm", "vm", "--force", check=False)
            if len(taken) > SNAPSHOTS:
                cli("snapshot", "rm", taken.pop(0), check=False)
            if self.over.wait(self.seconds / 30):
                return

    def _call_the_driver(self):
        """One volume is nearly full; the others come and go. None becomes a device:
        the program that starts its process fails."""
        csi = self.programs.csi
        capability = {"mount": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}

        def create(name, **parameters):
            return json.dumps(
                {
                    "name": name,
                    "capacity_range": {"required_bytes": 64 * MIB},
                    "volume_capabilities": [capability],
                    "parameters": parameters,
                }
            )

        csi("Controller/CreateVolume", create("pod", **{"class": "fast"}))
        csi("Controller/CreateVolume", create("full", memoryLimit="2Mi"))
        handle = self._connect("full")
        for at in range(0, 4 * MIB, len(NOISE)):
            allow("ENOSPC", lambda at=at: handle.pwrite(NOISE, at))
        for number in itertools.count():
            name = json.dumps({"volume_id": f"pod-{number}"})
            csi("Controller/CreateVolume", create(f"pod-{number}"), check=False)
            csi("Controller/DeleteVolume", name, check=False)
            stage = {
                "volume_id": "pod",
                "staging_target_path": "/tmp/never-made",
                "volume_capability": capability,
            }
            csi("Node/NodeStageVolume", json.dumps(stage), check=False)
            if self.over.wait(1):
                return

    def _use_the_bridge(self):
        """Over a connection that stays when the way to the server breaks."""
        handle = self._connect("spare-1", way="bridge")
        while not self.over.wait(0.1):
            allow("EIO", lambda: handle.pread(4096, 0))

    def _be_a_guest(self):
        """A virtual machine; writes may fail while the server is full."""
        guest = vhost_wire.Disk(f"{self.programs.sockets}/guests/spare-2.sock")
        guest.start()
        while not self.over.wait(0.01):
            sector = random.randrange(512) * 128
            guest.request(vhost_wire.OUT, sector, TEXT[:4096])
            guest.request(vhost_wire.IN, sector, length=4096)
        guest.close()

    def _break_the_way(self):
        """Shortly, and so long that requests fail with EIO."""
        for seconds in (0.5, 3):
            self.over.wait(self.seconds / 4)
            self.programs.cut_way()
            time.sleep(seconds)
            self.programs.mend_way()


def allow(name, command):
    """Whether it failed with that error. Any other raises."""
    try:
        command()
    except nbd.Error as error:
        if error.errno != name:
            raise
        return True
    return False
