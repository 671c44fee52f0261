"""The scenario `clients`: honest and hostile ones at once, over every way in.

The hostile go last, so that honest clients that they stop are seen. Then
everything is read back over every way, all is deleted, and memory must be back.
"""

import random
import threading
import time

import api
import bounds
import ways
from content import Content
from honest import Honest, Volumes, verify_all
from hostile import PREY, PREY_BYTES, Hostile
from memory_watch import MemoryWatch
from tide import Tide

# Volumes that all honest clients use, each half as large as the memory limit.
SHARED = 3
SHARED_PART = 2
# No multiples of a block.
ODD_BYTES = 1000


class Soak:
    """What the clients share."""

    def __init__(self, settings, servers, record):
        self.settings, self.servers, self.record = settings, servers, record
        self.over = threading.Event()
        self.hostile_over = threading.Event()
        self.tide = Tide(settings.seed, settings.seconds)
        self.volumes = Volumes(servers, Content(settings.seed), record)
        size = settings.limit_bytes // SHARED_PART
        self.shared = [
            self.volumes.create(f"shared-{i}", size - i * ODD_BYTES)
            for i in range(SHARED)
        ]
        self._make_prey()

    def _make_prey(self):
        """A volume that takes hardly any memory, and much of it in answers."""
        prey = self.volumes.create(PREY, PREY_BYTES)
        data = random.Random(0).randbytes(2000) * (bounds.MIB // 2000)
        unary = ways.Unary(self.record, self.servers.grpc_unix)
        for at in range(0, PREY_BYTES, bounds.MIB):
            unary.run(prey, [ways.Operation("write", at, len(data), data)])
        unary.close()


def run(settings, servers, record, sheet):
    """Raises for what should never happen; `record` has what was promised."""
    watch = MemoryWatch(servers, record, sheet)
    try:
        soak = Soak(settings, servers, record)
        work(soak)
        if not record.violations:
            verify(soak)
            rest(soak, watch)
        soak.volumes.close()
    finally:
        watch.stop()


def work(soak):
    """Until the time is over or a promise is broken."""
    honest = [Honest(i, soak) for i in range(soak.settings.honest)]
    hostile = [Hostile(i, soak) for i in range(soak.settings.hostile)]
    try:
        end = time.monotonic() + soak.settings.seconds
        while time.monotonic() < end and not soak.record.violations:
            time.sleep(0.2)
    finally:
        soak.over.set()
        join(honest)
        soak.hostile_over.set()
        join(hostile)


def join(clients):
    for client in clients:
        client.thread.join()


def verify(soak):
    """Everything that was acknowledged is there, over each way."""
    for way in ways.make_all(soak.servers, soak.record):
        for volume in soak.shared:
            verify_all(way, volume, soak.record)
        way.close()


def rest(soak, watch):
    """All is deleted, and the memory comes back."""
    channel = api.open_channel(soak.servers.grpc_unix)
    stub = api.Stub(channel, "VolumeService", bounds.CALL_SECONDS)
    for volume in stub.ListVolumes().volumes:
        stub.DeleteVolume(name=volume.name, force=True)
    channel.close()
    end = time.monotonic() + bounds.REST_SECONDS
    while True:
        sample = watch.look()
        over = sample.resident - watch.before.resident
        back = soak.servers.keeps_freed or over <= bounds.REST_BYTES
        if sample.used <= bounds.EMPTY_BYTES and back:
            return
        if time.monotonic() > end:
            break
        time.sleep(0.2)
    soak.record.violated(
        "memory comes back",
        f"{bounds.REST_SECONDS} s after all was deleted {sample.used} bytes are "
        f"used and {sample.resident} resident, {over} more than at first",
    )
