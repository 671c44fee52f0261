"""vhost-user against NBD of the same server, and against qemu-storage-daemon's vhost-user.

The clients are Debian 13's qemu-img bench, which speaks both, and libblkio by
//tests/bench:blkio_load.
"""

import json
import re
import shutil
import subprocess

import loads
import plan
from errors import BenchError
from servers import VOLUME, Qsd

QEMU = "qemu-img"
BLKIO = "libblkio"
NBD = f"ramvold, NBD, {QEMU}"
OURS = f"ramvold, vhost-user, {QEMU}"
OURS_BLKIO = f"ramvold, vhost-user, {BLKIO}"
FILE = f"qemu-storage-daemon, RAM file, {QEMU}"
FILE_BLKIO = f"qemu-storage-daemon, RAM file, {BLKIO}"
NULL = f"qemu-storage-daemon, null-co, {QEMU}"
NULL_BLKIO = f"qemu-storage-daemon, null-co, {BLKIO}"
WAYS = (NBD, OURS, OURS_BLKIO, FILE, FILE_BLKIO, NULL, NULL_BLKIO)

DEPTHS = (1, 16, 64)
READ, WRITE = "4 KiB rand read", "4 KiB rand write"
_BLOCK = 4096
# From one block to the next that qemu-img bench takes, so that neighbours are far apart
# and all come in turn.
_STEP = _BLOCK * 12289
_TRIAL = 5000
_SLACK_SECONDS = 120
_FILL_DEPTH = 16

NOTES = (
    "vhost-user: qemu-img bench steps through the disk in strides of 48 MiB, which come "
    "to every block; blkio_load takes random ones. What they write is compressible.",
    "vhost-user: the servers' CPU time includes what they spend awake while they wait "
    "for the next request.",
)


def missing():
    """What this machine lacks for it, or None."""
    for program in ("ramvol-vhost", "ramvol-libblkio"):
        if not shutil.which(program):
            return f"no {program}; ./dev deps installs it"
    return None


def _library():
    return subprocess.check_output(["ramvol-libblkio"], text=True).strip()


def _qemu_target(server, nbd):
    if nbd:
        path = server.path("nbd")
        return f"driver=nbd,server.type=unix,server.path={path},export={VOLUME}"
    return (
        f"driver=virtio-blk-vhost-user,path={server.vhost_path},cache.direct=on,"
        "discard=unmap"
    )


def _qemu_seconds(server, nbd, kind, depth, count):
    argv = [
        *("ramvol-vhost", "qemu-img", "bench", "-t", "none", "--image-opts"),
        *("-c", str(count), "-d", str(depth), "-s", str(_BLOCK), "-S", str(_STEP)),
        *(("-w", "--pattern=85") if kind == WRITE else ()),
        _qemu_target(server, nbd),
    ]
    out = loads.run_client(argv, _SLACK_SECONDS)
    match = re.search(r"Run completed in ([0-9.]+) seconds", out)
    if not match:
        raise BenchError(f"qemu-img bench printed: {out[:500]}")
    return float(match[1]), server.shown(argv)


def run_qemu(server, nbd, kind, depth, seconds):
    """A sample. A trial tells how many operations take so long; both warm up."""
    trial, _ = _qemu_seconds(server, nbd, kind, depth, _TRIAL)
    count = max(_TRIAL, int(_TRIAL * seconds / max(trial, 1e-3)))
    before = server.cpu_seconds()
    took, command = _qemu_seconds(server, nbd, kind, depth, count)
    used = server.cpu_seconds() - before
    return {
        "operations": count,
        "ops_per_s": count / took,
        "mib_per_s": count * _BLOCK / took / plan.MIB,
        "cpu_us_per_op": used * 1e6 / count,
        "command": command,
    }


def run_blkio(server, program, kind, depth, seconds):
    argv = [
        *(program, _library(), server.vhost_path),
        *("--rw=" + ("write" if kind == WRITE else "read"), f"--depth={depth}"),
        f"--seconds={seconds}",
    ]
    before = server.cpu_seconds()
    sample = json.loads(loads.run_client(argv, seconds + _SLACK_SECONDS))
    used = server.cpu_seconds() - before
    sample["cpu_us_per_op"] = used * 1e6 / sample["operations"]
    sample["command"] = server.shown(argv)
    return sample


class VhostUser:
    """All ways in turn, set by set, round by round."""

    def __init__(self, settings, factory, blkio_load):
        self._plan = settings
        self._factory = factory
        self._blkio_load = blkio_load
        self.samples = []

    def run(self):
        for set_name, size in self._plan.vhost_sets:
            for number in range(1, self._plan.vhost_rounds + 1):
                for server in self._servers(size):
                    with server:
                        self._round(server, set_name, size, number)

    def _servers(self, size):
        ours = self._factory.make(
            plan.RAMVOLD, size, hot_cache=self._plan.hot_cache, vhost_user=True
        )
        return (ours, Qsd(size, "file"), Qsd(size, "null-co"))

    def _ways(self, server):
        """(name, how to run it), for this server."""

        def qemu(nbd):
            return lambda *cell: run_qemu(server, nbd, *cell)

        def blkio(*cell):
            return run_blkio(server, self._blkio_load, *cell)

        if server.name == plan.RAMVOLD:
            return ((NBD, qemu(True)), (OURS, qemu(False)), (OURS_BLKIO, blkio))
        name = {"file": FILE, "null-co": NULL}[server.kind]
        return ((name, qemu(False)), (name.replace(QEMU, BLKIO), blkio))

    def _fill(self, server, size):
        if server.name == plan.RAMVOLD:
            loads.fill(server, size)
        elif server.kind == "file":
            run_qemu(server, False, WRITE, _FILL_DEPTH, size / plan.GIB)

    def _round(self, server, set_name, size, number):
        self._fill(server, size)
        for kind in (READ, WRITE):
            for depth in DEPTHS:
                for name, run in self._ways(server):
                    sample = run(kind, depth, self._plan.run_seconds)
                    sample.update(
                        section="vhost",
                        set=set_name,
                        kind=kind,
                        depth=depth,
                        jobs=1,
                        server=name,
                        round=number,
                    )
                    self.samples.append(sample)
                    loads.progress(
                        f"vhost-user, {kind}, {set_name}, depth {depth}, round {number}: "
                        f"{name} {sample['ops_per_s']:.0f}/s, "
                        f"{sample['cpu_us_per_op']:.2f} CPU us/op"
                    )


def lines(rows, set_name, kind):
    """What plots.py draws: operations a second over depth, a line for each way."""
    found = {
        way: [
            (row["depth"], row["ops_per_s"])
            for row in rows
            if (row["server"], row["set"], row["kind"]) == (way, set_name, kind)
        ]
        for way in WAYS
    }
    return {
        "lines": {way: points for way, points in found.items() if points},
        "log_x": True,
        "x": "requests under way",
        "y": "operations a second",
    }
