"""Copies of a real file system image in and out, by nbdcopy and qemu-img."""

import os
import shutil
import time

import loads
import plan
from errors import BenchError

_TIMEOUT_SECONDS = 1800
_SHM = "/dev/shm"

NBDCOPY_IN = "nbdcopy in"
NBDCOPY_OUT = "nbdcopy out"
NBDCOPY_OUT_ALL = "nbdcopy --no-extents out"
NBDCOPY_OUT_FILE = "nbdcopy out to a file"
QEMU_IN = "qemu-img convert in"
QEMU_OUT = "qemu-img convert out"

_NO_EXTENTS_NOTE = (
    "nbdkit null runs with --filter=noextents in the copies: else it says that "
    "all of it is a hole, and nothing is copied out."
)


def timed(server, argv):
    """Runs a client and measures the whole of it; a sample."""
    cpu, started = server.cpu_seconds(), time.monotonic()
    loads.run_client(argv, _TIMEOUT_SECONDS)
    return {
        "seconds": time.monotonic() - started,
        "cpu_seconds": server.cpu_seconds() - cpu,
        "command": server.shown(argv),
    }


def _scratch_folder(image):
    """Where copies out go: memory, if it has room, else beside the image."""
    needed = 2 * os.stat(image).st_blocks * 512
    if os.access(_SHM, os.W_OK) and shutil.disk_usage(_SHM).free > needed:
        return _SHM
    return os.path.dirname(image)


class Copies:
    """All copies of all servers, in turn, round by round."""

    def __init__(self, settings, factory, image, data_bytes):
        self._plan = settings
        self._factory = factory
        self._image = image
        self._data_bytes = data_bytes
        self._out = os.path.join(
            _scratch_folder(image), f"ramvol-bench-{os.getpid()}.img"
        )
        self._no_extents = {plan.NBDKIT_NULL}
        self.samples = []
        self.notes = [_NO_EXTENTS_NOTE]

    def run(self):
        try:
            for number in range(1, self._plan.copy_rounds + 1):
                for name in self._plan.servers:
                    self._round(name, number)
        finally:
            self._remove_output()

    def _remove_output(self):
        if os.path.exists(self._out):
            os.remove(self._out)

    def _round(self, name, number):
        """A round of one server; again without BLOCK_STATUS if it crashed."""
        kept = len(self.samples)
        try:
            self._with_nbdcopy(name, number)
            self._with_qemu(name, number)
        except _Crashed as crash:
            if name in plan.OURS or name in self._no_extents:
                raise
            self.notes.append(
                f"{name} crashed in round {number} ({crash}); from there on it "
                "ran with --filter=noextents, without which a client's "
                "BLOCK_STATUS may end it."
            )
            self._no_extents.add(name)
            del self.samples[kept:]
            self._round(name, number)

    def _start(self, name):
        return self._factory.make(
            name,
            self._plan.image_bytes,
            no_extents=name in self._no_extents,
        )

    def _with_nbdcopy(self, name, number):
        with self._start(name) as server:
            uri, image = server.uri, self._image
            self._run(server, number, NBDCOPY_IN, "nbdcopy", image, uri)
            self._run(server, number, NBDCOPY_OUT, "nbdcopy", uri, "null:")
            self._run(
                *(server, number, NBDCOPY_OUT_ALL),
                *("nbdcopy", "--no-extents", uri, "null:"),
            )
            self._run(
                *(server, number, NBDCOPY_OUT_FILE),
                *("nbdcopy", uri, self._out),
            )
            self._check_output(name, number)

    def _with_qemu(self, name, number):
        convert = ("qemu-img", "convert", "-f", "raw", "-O", "raw")
        with self._start(name) as server:
            self._run(
                *(server, number, QEMU_IN),
                *(*convert, "-n", self._image, server.uri),
            )
            self._run(
                *(server, number, QEMU_OUT),
                *(*convert, server.uri, self._out),
            )
            self._check_output(name, number)

    def _check_output(self, name, number):
        """What came out is what went in, or the figures mean nothing."""
        if number == 1 and name != plan.NBDKIT_NULL:
            loads.run_client(["cmp", self._image, self._out], _TIMEOUT_SECONDS)
        self._remove_output()

    def _run(self, server, number, kind, *argv):
        try:
            sample = timed(server, list(argv))
        except BenchError as error:
            if server.alive():
                raise
            raise _Crashed(f"while {kind} ran") from error
        sample.update(
            section="copy",
            kind=kind,
            server=server.name,
            round=number,
            mib_per_s=self._data_bytes / plan.MIB / sample["seconds"],
        )
        self.samples.append(sample)
        loads.progress(
            f"{kind}, round {number}: {server.name} {sample['seconds']:.2f} s"
        )


class _Crashed(BenchError):
    """The server ended while a client used it."""
