"""Watches memory from outside and by GetServerInfo, and holds it to its bounds."""

import os
import threading
import time
from dataclasses import dataclass

import api
import bounds

INTERVAL_SECONDS = 0.05


@dataclass
class Sample:
    """One look at memory, in bytes."""

    used: int
    allocated: int
    limit: int
    resident: int
    peak: int  # Most that was ever resident.
    bridge_resident: int
    bridge_peak: int


def resident_and_peak(pid):
    """Of a process, by the kernel's count."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        lines = dict(line.split(":", 1) for line in file)
    return [int(lines[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM")]


class MemoryWatch:
    """Looks from its own thread until it is stopped."""

    def __init__(self, servers, record, sheet):
        """Each second of it becomes a row of `sheet`."""
        self._servers, self._record, self._sheet = servers, record, sheet
        self._channel = api.open_channel(servers.grpc_unix)
        self._stub = api.Stub(self._channel, "VolumeService", bounds.CALL_SECONDS)
        self._over = threading.Event()
        self.before = self.look()
        self.most_over_limit = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def look(self):
        """One sample, at once."""
        began = time.monotonic()
        info = self._stub.GetServerInfo()
        self._record.took("info", time.monotonic() - began)
        return Sample(
            info.memory_used_bytes,
            info.memory_allocated_bytes,
            info.memory_limit_bytes,
            *resident_and_peak(self._servers.ramvold.pid),
            *resident_and_peak(self._servers.bridge.pid),
        )

    def _run(self):
        while not self._over.wait(INTERVAL_SECONDS):
            try:
                sample = self.look()
            except Exception as error:  # A dead server, or one that does not answer.
                self._record.violated("the server answers", repr(error))
                return
            self._sheet.add(sample, self._record)
            self._check(sample)
            self._check_own()

    def _check(self, sample):
        over = sample.used - sample.limit
        self.most_over_limit = max(self.most_over_limit, over)
        if over > 0:
            self._record.violated(
                "memory used stays within the limit",
                f"{sample.used} bytes are used, {over} over the limit of "
                f"{sample.limit}; allocated are {sample.allocated}",
            )
        self._check_peak("ramvold", sample.peak, bounds.resident_bytes(sample.limit))
        self._check_peak("ramvol-nbd", sample.bridge_peak, bounds.BRIDGE_BYTES)

    def _check_peak(self, name, peak, bound):
        """By the peak, because a hang would hide from samples."""
        if peak > bound and not self._servers.keeps_freed:
            self._record.violated(
                f"resident memory of {name} stays within its bound",
                f"{peak} bytes were resident, {peak - bound} over {bound}",
            )

    def _check_own(self):
        resident, _ = resident_and_peak(os.getpid())
        if resident > bounds.SOAK_BYTES:
            self._record.violated(
                "the soak's own memory stays within its bound",
                f"{resident} bytes are resident; this is the test's own fault",
            )

    def stop(self):
        self._over.set()
        self._thread.join()
        self._sheet.end_row(self._record)
        self._channel.close()
