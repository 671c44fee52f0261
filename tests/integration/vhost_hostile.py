"""What the tests of guests and front ends that misbehave share: each attack is bounded,
while a guest that behaves goes on with its work on a volume of its own, and so does a
client of NBD's volume. The server lives, answers, and its memory stays bounded; the
figures are printed. HOSTILE_SECONDS is how long each test with random choices lasts."""

import contextlib
import os
import threading
import time

from vhost_server import MIB, PATIENCE, RAMVOLD, Case, until
from vhost_wire import Closed, Disk, Wire

SECONDS = float(os.environ.get("HOSTILE_SECONDS", 1))
# What the server may hold more than before an attack.
SLACK_BYTES = 128 * MIB
# ASan keeps what is freed, so memory says nothing.
with open(RAMVOLD, "rb") as program:
    KEEPS_FREED = b"__asan_init" in program.read()
# How a connection ends, or is not let in: the socket's queue is full.
ENDS = (Closed, TimeoutError, BrokenPipeError, BlockingIOError)
U64, U32, U16 = (1 << 64) - 1, (1 << 32) - 1, (1 << 16) - 1
# What guests that go on after an attack have open.
FEW_DESCRIPTORS = 24


class Bystander:
    """A guest that behaves, in a thread, and checks all that it reads."""

    def __init__(self, guest, rng):
        self._guest, self._random = guest, rng
        self._model = bytearray(MIB)
        self._end = threading.Event()
        self.error = None
        self.count, self.slowest = 0, 0.0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            while not self._end.is_set():
                self._work()
        except Exception as error:
            self.error = error

    def _work(self):
        begin = time.monotonic()
        length = 512 * self._random.randrange(1, 17)
        offset = 512 * self._random.randrange((MIB - length) // 512)
        if self._random.randrange(2):
            data = self._random.randbytes(length)
            self._guest.write(offset, data)
            self._model[offset : offset + length] = data
        else:
            data = self._guest.read(offset, length)
            assert data == self._model[offset : offset + length], offset
        self.slowest = max(self.slowest, time.monotonic() - begin)
        self.count += 1
        # The attackers, in the same Python, need a turn.
        time.sleep(0.001)

    def finish(self):
        self._end.set()
        self._thread.join()
        if self.error:
            raise self.error


class HostileCase(Case):
    def setUp(self):
        super().setUp()
        self.name = self.volume()
        self.bystander = Bystander(self.disk(self.volume()).start(), self.random)
        self.before = self.server.resident_bytes()
        self.fds = self.server.count_fds()
        self.highest = self.before
        self.attacks = 0

    def tearDown(self):
        self.look()
        before = self.bystander.count
        until(
            lambda: self.bystander.error or self.bystander.count > before + 20,
            "the bystander",
        )
        self.bystander.finish()
        until(
            lambda: self.server.count_fds() <= self.fds + FEW_DESCRIPTORS,
            "descriptors to be closed",
        )
        honest = self.newcomer().start()
        self.addCleanup(honest.close)
        honest.write(0, b"x" * 512)
        self.assertEqual(honest.read(0, 512), b"x" * 512)
        grown = (self.highest - self.before) / MIB
        print(
            f"{self.id().rpartition('.')[2]}: {self.attacks} attacks; the server grew by"
            f" at most {grown:.0f} MiB; {self.bystander.count} requests beside them,"
            f" the slowest {self.bystander.slowest * 1e3:.0f} ms"
        )
        if not KEEPS_FREED:
            self.assertLess(self.highest - self.before, SLACK_BYTES)

    def look(self):
        self.assertTrue(self.server.alive(), self.server.log())
        self.highest = max(self.highest, self.server.resident_bytes())

    def let_in(self, connect):
        """On the attacked socket, which the one before may hold for a moment."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return connect(self.server.path(self.name))
            except ENDS:
                self.assertTrue(self.server.alive(), self.server.log())
                self.assertLess(time.monotonic(), end, "nobody is let in")
                time.sleep(0.01)

    def newcomer(self):
        return self.let_in(lambda path: Disk(path, size=16, room=4096))

    @contextlib.contextmanager
    def attack(self):
        """A guest of its own; the server may end it at any time."""
        self.attacks += 1
        guest = self.newcomer()
        try:
            yield guest
        except ENDS:
            pass
        finally:
            guest.close()
            if self.attacks % 16 == 0:
                self.look()

    @contextlib.contextmanager
    def connection(self):
        self.attacks += 1
        wire = self.let_in(Wire)
        try:
            yield wire
        except ENDS:
            pass
        finally:
            wire.close()

    @staticmethod
    def settle(guest, seconds=0.05):
        """Gives the server the time to look, or to end the connection."""
        with contextlib.suppress(*ENDS):
            guest.wire.socket.settimeout(seconds)
            guest.wire.receive()
