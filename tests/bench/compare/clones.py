"""Many clones of a file system image, each of which then writes 4 KiB.

By ramvold, by qcow2 files over the image, and by file systems that share blocks
(reflinks), all of it in memory.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import loads
import memory
import plan
from errors import BenchError

_SHM = "/dev/shm"
_FICLONE, _FIFREEZE, _FITHAW = 0x40049409, 0xC0045877, 0xC0045878
_TIMEOUT_SECONDS = 1800
# The file system on a RAM disk has room for the image and so much more.
_SPARE_BYTES = 2 * plan.GIB
# What was written is compressed within this time.
_QUIET_SECONDS = 60

NOTES = (
    "Clones: one client makes all of them, one after the other, then writes one "
    "block of 4 KiB into each, a quarter into the image, half of which compresses "
    "away. For ramvold this is a Python program that calls CreateVolume and Write "
    "by gRPC. Memory: how much its process has grown.",
    "qcow2: qemu-img create -b, then qemu-io, a process for each; memory is that of "
    "the files on a tmpfs. The processes that would serve them are not in it.",
    "Reflinks: one process calls FICLONE, as cp --reflink does, then pwrite, and "
    "syncs at the end of both. The file system is on a loop device over a file on a "
    "tmpfs; memory is that of the file. The kernel's caches are not in it.",
)


def measure(count, clone_all, write_all, memory_of):
    """Does both, and measures them. `memory_of` returns bytes, by name."""
    before = memory_of()
    started = time.monotonic()
    clone_all()
    cloned_seconds = time.monotonic() - started
    cloned = memory_of()
    started = time.monotonic()
    write_all()
    written_seconds = time.monotonic() - started
    written = memory_of()
    return {
        "clone_seconds": cloned_seconds,
        "write_seconds": written_seconds,
        "image_bytes": before,
        "clone_bytes": {k: (cloned[k] - before[k]) / count for k in before},
        "written_bytes": {k: (written[k] - before[k]) / count for k in before},
    }


def blocks(count):
    """What the clones write."""
    return [memory.half_random_block(number) for number in range(count)]


def write_offset(image_bytes):
    return image_bytes // 4 // plan.MIB * plan.MIB


# --- ramvold ---


def _await_quiet(server):
    """Until nothing waits to be compressed."""
    deadline = time.monotonic() + _QUIET_SECONDS
    while int(server.stat()["dirtyBytes"]) and time.monotonic() < deadline:
        time.sleep(0.2)


def _by_ramvold(run, image):
    count, size = run.plan.clones, run.plan.image_bytes
    # Merging what is cold would change the memory meanwhile.
    flags = ("--merge_interval=1h",)
    with run.factory.make(plan.RAMVOLD, size, flags=flags) as server:
        loads.run_client(["nbdcopy", image, server.uri], _TIMEOUT_SECONDS)
        _await_quiet(server)
        script = os.path.join(os.path.dirname(__file__), "many_clones.py")
        output = loads.run_client(
            [
                *(sys.executable, "-B", script, server.grpc_address),
                *(str(server.main_pid), server.export, str(count)),
                *(str(write_offset(size)), run.arguments.proto_dirs),
            ],
            _TIMEOUT_SECONDS,
        )
    return json.loads(output)


# --- In folders ---


def allocated_bytes(folder):
    """What the files in a folder take."""
    return sum(entry.stat().st_blocks * 512 for entry in os.scandir(folder))


class _Folder:
    """A folder in memory, removed at the end."""

    def __enter__(self):
        if not os.access(_SHM, os.W_OK):
            raise BenchError(f"{_SHM} is no place to write")
        self.path = tempfile.mkdtemp(prefix="ramvol-bench.", dir=_SHM)
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


def _copy_sparse(image, path):
    loads.run_client(["cp", "--sparse=always", image, path], _TIMEOUT_SECONDS)


def _paths(folder, count):
    return [os.path.join(folder, f"clone-{number}") for number in range(count)]


def _by_qcow2(run, image):
    count, offset = run.plan.clones, write_offset(run.plan.image_bytes)
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b"]
    with _Folder() as folder:
        base = os.path.join(folder, "base")
        _copy_sparse(image, base)
        paths = _paths(folder, count)

        def clone_all():
            for path in paths:
                loads.run_client([*create, base, path], _TIMEOUT_SECONDS)

        def write_all():
            for number, path in enumerate(paths):
                write = f"write -q -P {1 + number % 255} {offset} 4k"
                loads.run_client(
                    ["qemu-io", "-f", "qcow2", "-c", write, path], _TIMEOUT_SECONDS
                )

        return measure(
            count, clone_all, write_all, lambda: {"files": allocated_bytes(folder)}
        )


class _RamDisk:
    """A file system in a file in memory, mounted through a loop device."""

    def __init__(self, mkfs, size):
        self._mkfs, self._size = mkfs, size

    def __enter__(self):
        self._folder = _Folder()
        folder = self._folder.__enter__()
        self.disk, self.root = (os.path.join(folder, name) for name in ("disk", "root"))
        try:
            os.mkdir(self.root)
            with open(self.disk, "wb") as file:
                file.truncate(self._size)
            loads.run_client([*self._mkfs, self.disk], _TIMEOUT_SECONDS)
            loads.run_client(
                ["mount", "-o", "loop,noatime", self.disk, self.root], _TIMEOUT_SECONDS
            )
        except BaseException:
            self._folder.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # Also frees the loop device.
        subprocess.run(["umount", self.root], check=False)
        self._folder.__exit__()

    @contextlib.contextmanager
    def _opened(self):
        root = os.open(self.root, os.O_RDONLY)
        try:
            yield root
        finally:
            os.close(root)

    def sync(self):
        with self._opened() as root:
            if ctypes.CDLL(None).syncfs(root):
                raise BenchError(f"{self.root} cannot be synced")

    def used_bytes(self):
        """What is in the file once nothing is in a journal alone."""
        with self._opened() as root:
            fcntl.ioctl(root, _FIFREEZE, 0)
            fcntl.ioctl(root, _FITHAW, 0)
        return os.stat(self.disk).st_blocks * 512


def _clone_file(source, path):
    target = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        fcntl.ioctl(target, _FICLONE, source)
    finally:
        os.close(target)


def _write_at(path, data, offset):
    file = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(file, data, offset)
    finally:
        os.close(file)


def _by_reflinks(run, image, mkfs):
    count, offset = run.plan.clones, write_offset(run.plan.image_bytes)
    with _RamDisk(mkfs, run.plan.image_bytes + _SPARE_BYTES) as disk:
        base = os.path.join(disk.root, "base")
        _copy_sparse(image, base)
        disk.sync()
        paths, contents = _paths(disk.root, count), blocks(count)
        source = os.open(base, os.O_RDONLY)

        def clone_all():
            for path in paths:
                _clone_file(source, path)
            disk.sync()

        def write_all():
            for path, data in zip(paths, contents):
                _write_at(path, data, offset)
            disk.sync()

        try:
            return measure(
                count, clone_all, write_all, lambda: {"files": disk.used_bytes()}
            )
        finally:
            os.close(source)


WAYS = {
    plan.RAMVOLD: _by_ramvold,
    "qcow2 over raw, tmpfs": _by_qcow2,
    "btrfs reflinks, RAM disk": lambda run, image: _by_reflinks(
        run, image, ["mkfs.btrfs", "-q"]
    ),
    "xfs reflinks, RAM disk": lambda run, image: _by_reflinks(
        run, image, ["mkfs.xfs", "-q", "-m", "reflink=1"]
    ),
}


# --- All of them ---


def median(rounds):
    """The medians of figures, or of dictionaries of figures."""
    if isinstance(rounds[0], dict):
        return {key: median([one[key] for one in rounds]) for key in rounds[0]}
    return statistics.median(rounds)


def run_all(run, image, ways=None):
    """The figures by way, and what could not be had."""
    figures, missing = {}, {}
    for name, way in (ways or WAYS).items():
        rounds = []
        try:
            for number in range(1, run.plan.clone_rounds + 1):
                loads.progress(f"clones, round {number}: {name}")
                rounds.append(way(run, image))
        except (BenchError, OSError) as error:
            if name == plan.RAMVOLD:
                raise
            missing[name] = str(error)
            continue
        figures[name] = {"count": run.plan.clones, **median(rounds)}
    return figures, missing
