"""Guests and front ends that misbehave, each attack bounded, while a guest that behaves
goes on with its work on a volume of its own, and so does a client of NBD's volume.
The server lives, answers, and its memory stays bounded; the figures are printed.

Arguments: the paths of ramvold and ramvol. HOSTILE_SECONDS is how long each test with
random choices lasts.
"""

import contextlib
import mmap
import os
import socket
import struct
import threading
import time

import vhost_wire
from vhost_server import MIB, PATIENCE, RAMVOLD, Case, main, until
from vhost_wire import (
    DISCARD,
    GET_ID,
    IN,
    INDIRECT,
    NEXT,
    OUT,
    WRITE,
    WRITE_ZEROES,
    Closed,
    Disk,
    Memory,
    Wire,
)

SECONDS = float(os.environ.get("HOSTILE_SECONDS", 3))
# What the server may hold more than before an attack.
SLACK_BYTES = 128 * MIB
# ASan keeps what is freed, so memory says nothing.
with open(RAMVOLD, "rb") as program:
    KEEPS_FREED = b"__asan_init" in program.read()
# How a connection ends, or is not let in: the socket's queue is full.
ENDS = (Closed, TimeoutError, BrokenPipeError, BlockingIOError)
CONNECTIONS = 300
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


U64, U32, U16 = (1 << 64) - 1, (1 << 32) - 1, (1 << 16) - 1


class Messages(HostileCase):
    def test_random_messages(self):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            with self.connection() as wire:
                for _ in range(self.random.randrange(1, 8)):
                    request = self.random.choice((self.random.randrange(44), U32))
                    size = self.random.choice((0, 4, 8, 12, 20, 40, 72, 4096))
                    flags = self.random.choice((1, 1, 1, 9, 5, 0, 2, U32))
                    wire.send(request, self.random.randbytes(size), flags=flags)

    def test_numbers_at_the_edge(self):
        """Each message with each number that is a limit of something."""
        edges = (0, 1, U16, U32, U32 - 1, 1 << 31, 1 << 63, U64, 4096, 0x7E00_0000_0000)
        for request in range(44):
            with self.connection() as wire:
                for edge in edges:
                    payload = struct.pack("<QQ", edge, edge)
                    wire.send(request, payload[: self.random.choice((8, 16))])
            for edge in (0, 1, 4097, 1 << 20, 1 << 31, U32):
                with self.connection() as wire:
                    wire.send_raw(struct.pack("<III", request, 1, edge) + b"x" * 64)
                    wire.socket.settimeout(0.01)
                    wire.receive()

    def test_half_messages(self):
        """They wait, and make nobody wait."""
        wires = []
        self.addCleanup(lambda: [wire.close() for wire in wires])
        for at in range(CONNECTIONS):
            self.attacks += 1
            with contextlib.suppress(*ENDS):
                wire = Wire(self.server.path(self.name))
                wires.append(wire)
                wire.send_raw(
                    struct.pack("<III", 5, 1, 40)[: at % 13] + b"x" * (at % 7)
                )
        self.look()
        self.serve_one_more()
        for wire in wires:
            wire.close()

    def serve_one_more(self):
        """Somebody else's connection, to a volume of its own."""
        other = self.disk(self.volume()).start()
        self.assertEqual(other.read(0, 512), bytes(512))

    def test_many_connections(self):
        wires = []
        for _ in range(CONNECTIONS):
            self.attacks += 1
            with contextlib.suppress(*ENDS, OSError):
                wire = Wire(self.server.path(self.name))
                wires.append(wire)
                wire.send(vhost_wire.GET_FEATURES)
        self.serve_one_more()
        self.look()
        for wire in wires:
            wire.close()

    def test_connections_that_come_and_go(self):
        for _ in range(CONNECTIONS):
            with self.connection() as wire:
                wire.send(vhost_wire.SET_OWNER)

    def test_answers_that_nobody_reads(self):
        with self.connection() as wire:
            wire.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(100000):
                    wire.socket.send(struct.pack("<III", 1, 1, 0))
            self.serve_one_more()

    def test_configuration_out_of_bounds(self):
        for offset, size in (
            (0, 257),
            (256, 1),
            (U32, 4),
            (60, U32),
            (U32, U32),
            (255, 2),
        ):
            with self.connection() as wire:
                payload = struct.pack("<III", offset, size, 0) + bytes(min(size, 256))
                wire.send(vhost_wire.GET_CONFIG, payload)
                wire.send(vhost_wire.SET_CONFIG, payload)
                wire.socket.settimeout(0.05)
                wire.receive()

    def test_changes_that_nobody_reads(self):
        """The channel for the server's messages, never read, and full."""
        guest = self.disk(self.name).start()
        channel = guest.listen_to_changes()
        self.addCleanup(channel.close)
        for at in range(400):
            self.attacks += 1
            if at % 40 == 0:
                self.server.ramvol("resize", self.name, (65 + at) * MIB)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    theirs.send(bytes(4096))
            theirs.setblocking(True)
            guest.wire.send(vhost_wire.SET_BACKEND_REQ_FD, fds=[theirs.fileno()])
            guest.capacity()
            self.server.ramvol("resize", self.name, 512 * MIB)
            self.assertEqual(guest.capacity(), 512 * MIB)
        guest.wire.close()


class Descriptors(HostileCase):
    """File descriptors of every wrong kind."""

    @contextlib.contextmanager
    def strange_fds(self):
        full = os.eventfd(0)  # A write to it waits forever.
        os.eventfd_write(full, U64 - 1)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(4096))
        os.set_blocking(writer, True)
        left, right = socket.socketpair()
        fds = {
            "a full eventfd": full,
            "an empty pipe's reader": os.pipe()[0],
            "a full pipe's reader": reader,
            "a full pipe's writer": writer,
            "zeroes": os.open("/dev/zero", os.O_RDWR),
            "full": os.open("/dev/full", os.O_RDWR),
            "a folder": os.open("/", os.O_RDONLY),
            "a path": os.open("/", os.O_PATH),
            "a socket": left.detach(),
            "memory that is read-only": os.open("/proc/version", os.O_RDONLY),
        }
        try:
            yield fds
        finally:
            right.close()
            for fd in {*fds.values(), writer}:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def test_kicks_and_calls(self):
        with self.strange_fds() as fds:
            for fd in fds.values():
                for message in (
                    vhost_wire.SET_VRING_KICK,
                    vhost_wire.SET_VRING_CALL,
                    vhost_wire.SET_VRING_ERR,
                ):
                    with self.attack() as guest:
                        guest.start()
                        guest.wire.send(message, struct.pack("<Q", 0), [fd])
                        for _ in range(4):
                            guest.submit(IN, 0, length=512)
                        # A broken chain, of which the server tells by ERR.
                        ring = guest.queues[0]
                        ring.publish(15)
                        ring.kick()
                        self.settle(guest)
                    self.look()

    def test_memory(self):
        with self.strange_fds() as fds:
            for fd in fds.values():
                for message in (
                    vhost_wire.SET_MEM_TABLE,
                    vhost_wire.ADD_MEM_REG,
                    vhost_wire.SET_LOG_BASE,
                    vhost_wire.SET_INFLIGHT_FD,
                    vhost_wire.SET_BACKEND_REQ_FD,
                    vhost_wire.SET_LOG_FD,
                ):
                    with self.attack() as guest:
                        head = struct.pack("<II", 1, 0)
                        if message == vhost_wire.SET_LOG_BASE:
                            head = struct.pack("<QQ", 4096, 0)
                        if message == vhost_wire.SET_INFLIGHT_FD:
                            head = struct.pack("<QQHH", 65536, 0, 1, 16)
                        guest.wire.send(message, head + guest.memory.region(), [fd])
                        with contextlib.suppress(*ENDS):
                            guest.start_queue(guest.queues[0])
                            guest.submit(IN, 0, length=512)
                        self.settle(guest)

    def test_too_many(self):
        with self.strange_fds() as fds:
            for message in range(1, 44):
                with self.connection() as wire:
                    for _ in range(8):
                        wire.send(message, bytes(8), list(fds.values()) * 6)

    def test_descriptors_without_messages(self):
        """A byte of a header at a time, each with eight of them."""
        with self.strange_fds() as fds:
            for _ in range(40):
                with self.connection() as wire:
                    for byte in struct.pack("<III", 1, 1, 0)[:11]:
                        wire.send_raw(bytes([byte]), list(fds.values())[:8])

    def test_descriptors_that_never_close(self):
        """Rings set up again and again with others."""
        with self.attack() as guest:
            guest.start()
            for _ in range(300):
                fd = os.eventfd(0)
                for message in (
                    vhost_wire.SET_VRING_CALL,
                    vhost_wire.SET_VRING_KICK,
                    vhost_wire.SET_VRING_ERR,
                ):
                    guest.wire.send(message, struct.pack("<Q", 0), [fd])
                os.close(fd)
            guest.capacity()
            self.assertLess(self.server.count_fds(), self.fds + 40)


class Memories(HostileCase):
    def table(self, *regions):
        return struct.pack("<II", len(regions), 0) + b"".join(
            struct.pack("<QQQQ", *region) for region in regions
        )

    def test_regions(self):
        memory = Memory(MIB)
        self.addCleanup(memory.close)
        at, size, user = memory.guest, MIB, memory.user
        for regions in (
            [(at, 0, user, 0)],
            [(at, U64, user, 0)],
            [(at, 1 << 62, user, 0)],
            [(U64 - 4096, size, user, 0)],
            [(at, size, U64 - 4096, 0)],
            [(at, size, user, size)],
            [(at, size, user, U64 - 4095)],
            [(at, size, user, 1)],
            [(at, 1 << 40, user, 0)],
            [(at, size, user, 0)] * 2,
            [(at, size, user, 0), (at + 4096, size, user + size, 0)],
            [(at, size, user, 0), (at + size, size, user + 4096, 0)],
            [(at + n * size, size, user + n * size, 0) for n in range(8)],
            [(at + n * size, size, user + n * size, 0) for n in range(40)],
            [(1, 1, 1, 1)],
            [],
        ):
            for message in (vhost_wire.SET_MEM_TABLE, vhost_wire.ADD_MEM_REG):
                with self.attack() as guest:
                    payload = self.table(*regions)
                    if message == vhost_wire.ADD_MEM_REG:
                        payload = bytes(8) + payload[8:40]
                    fds = [memory.fd] * min(len(regions), 8)
                    guest.wire.send(message, payload, fds)
                    guest.start_queue(guest.queues[0])
                    guest.submit(OUT, 0, bytes(4096))
                    self.settle(guest, 0.02)
            with self.attack() as guest:
                # The count is a lie.
                guest.wire.send(
                    vhost_wire.SET_MEM_TABLE,
                    struct.pack("<II", U32, 0) + self.table(*regions)[8:],
                    [memory.fd],
                )
                self.settle(guest, 0.02)

    def test_slots_without_an_end(self):
        memory = Memory(4096)
        self.addCleanup(memory.close)
        with self.attack() as guest:
            protocol = guest.protocol | 1 << vhost_wire.P_MEM_SLOTS
            guest.wire.send(
                vhost_wire.SET_PROTOCOL_FEATURES, struct.pack("<Q", protocol)
            )
            for at in range(2000):
                region = struct.pack("<QQQQQ", 0, at << 20, 4096, at << 20, 0)
                guest.wire.acknowledged(vhost_wire.ADD_MEM_REG, region, [memory.fd])

    def truncate_and_use(self, guest, size, use):
        """The memory goes away while requests are under way."""
        guest.start()
        for at in range(4):
            guest.submit(IN, at * 8, length=4096, kick=False)
        os.ftruncate(guest.memory.fd, size)
        with contextlib.suppress(*ENDS):
            guest.queues[0].kick()
            use()
        self.settle(guest)
        self.look()

    def test_memory_that_is_truncated(self):
        """SIGBUS's ground: the ring's, the table's, the data's page is gone."""
        for size in (0, 4096, 8192, 12288, 16384):
            for _ in range(3):
                with self.attack() as guest:
                    # The client's own view would fault, too.
                    self.truncate_and_use(guest, size, lambda: None)

    def test_memory_that_is_truncated_and_comes_back(self):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            with self.attack() as guest:
                guest.start()
                size = guest.memory.size
                for _ in range(200):
                    guest.queues[0].kick()
                    os.ftruncate(guest.memory.fd, 4096)
                    os.ftruncate(guest.memory.fd, size)
                    guest.wire.acknowledged(
                        vhost_wire.SET_VRING_ENABLE, struct.pack("<II", 0, 1)
                    )

    def test_holes_punched_under_requests(self):
        with self.attack() as guest:
            guest.start()
            with mmap.mmap(guest.memory.fd, guest.memory.size) as view:
                for at in range(100):
                    guest.submit(OUT, 8 * at, b"h" * 4096)
                    view.madvise(mmap.MADV_REMOVE)
                    self.attacks += 1
                    guest.queues[0] = vhost_wire.Queue(guest.memory, 0, 16, 0)

    def test_region_of_what_is_under_way(self):
        """Tiny, truncated, and full of nonsense."""
        for size, queues, depth in (
            (0, 1, 16),
            (1, 1, 16),
            (4096, 1, 1024),
            (4096, U16, U16),
            (1 << 40, 1, 16),
            (U64, 1, 16),
            (65536, 0, 0),
            (65536, 1, 16),
            (65536, 1, 0),
        ):
            for offset in (0, 1, 4096, U64 - 1):
                with self.attack() as guest:
                    fd = os.memfd_create("inflight")
                    os.ftruncate(fd, min(size, MIB))
                    with contextlib.suppress(OSError):
                        os.pwrite(fd, self.random.randbytes(min(size, 65536)), 0)
                    layout = struct.pack("<QQHH", size, offset, queues, depth)
                    guest.inflight = fd, layout
                    guest.start()
                    guest.submit(IN, 0, length=512)
                    if offset:
                        os.ftruncate(fd, 0)
                    guest.submit(IN, 0, length=512)
                    self.settle(guest, 0.02)

    def test_inflight_with_random_entries(self):
        """What QEMU was given, damaged between two servers."""
        for _ in range(60):
            with self.attack() as guest:
                guest.start()
                guest.read(0, 512)
                fd, layout = guest.inflight
                size = struct.unpack_from("<Q", layout)[0]
                for _ in range(self.random.randrange(1, 20)):
                    os.pwrite(
                        fd, self.random.randbytes(2), self.random.randrange(size - 2)
                    )
                guest.reconnect(self.server.path(self.name))
                guest.submit(IN, 0, length=512)
                self.settle(guest, 0.02)

    def test_asks_for_huge_inflight_regions(self):
        for queues in (0, 1, 64, 1024, U16):
            for depth in (0, 1, 1024, 32768, U16):
                with self.attack() as guest:
                    guest.wire.ask(
                        vhost_wire.GET_INFLIGHT_FD,
                        bytes(16) + struct.pack("<HH", queues, depth),
                    )
        self.look()

    def test_dirty_log(self):
        for size, length in (
            (0, 0),
            (1, 4096),
            (4096, 4096),
            (U64, 4096),
            (1 << 30, 8),
        ):
            with self.attack() as guest:
                guest.wire.send(
                    vhost_wire.SET_PROTOCOL_FEATURES,
                    struct.pack("<Q", guest.protocol | 1 << vhost_wire.P_LOG_SHMFD),
                )
                fd = os.memfd_create("log")
                os.ftruncate(fd, length)
                guest.wire.ask(
                    vhost_wire.SET_LOG_BASE, struct.pack("<QQ", size, 0), [fd]
                )
                features = guest.features | 1 << vhost_wire.F_LOG_ALL
                guest.wire.send(vhost_wire.SET_FEATURES, struct.pack("<Q", features))
                guest.start()
                guest.submit(IN, 0, length=4096)
                self.settle(guest, 0.02)
                os.ftruncate(fd, 0)
                guest.submit(IN, 0, length=4096)
                self.settle(guest, 0.02)
                os.close(fd)


class Rings(HostileCase):
    def test_shapes(self):
        for size in (0, 1, 3, 32768, 65535):
            with self.attack() as guest:
                guest.queues[0].size = size
                guest.start()
                guest.queues[0].kick()
                self.settle(guest, 0.02)

    def test_addresses(self):
        memory = Memory(4096)
        memory.close()
        places = (0, 1, U64, U64 - 64, memory.user, memory.user - 1, 1 << 47)
        for which in range(3):
            for place in places:
                for shift in (0, 1, 4096, MIB * 64):
                    with self.attack() as guest:
                        address = bytearray(guest.queues[0].address())
                        struct.pack_into(
                            "<Q", address, 8 + 8 * which, (place + shift) & U64
                        )
                        guest.queues[0].address = lambda address=address: bytes(address)
                        guest.start()
                        guest.queues[0].kick()
                        self.settle(guest, 0.01)

    def test_indexes(self):
        """More available than the ring holds, and numbers of no ring."""
        for ahead in (17, 1000, U16):
            with self.attack() as guest:
                guest.start()
                ring = guest.queues[0]
                struct.pack_into("<H", guest.memory.map, ring.available + 2, ahead)
                ring.kick()
                self.settle(guest)
        for index in (1, 63, 64, 255, 256, U32):
            for message in (
                vhost_wire.SET_VRING_NUM,
                vhost_wire.SET_VRING_BASE,
                vhost_wire.SET_VRING_ENABLE,
                vhost_wire.GET_VRING_BASE,
            ):
                with self.attack() as guest:
                    guest.start()
                    guest.wire.send(message, struct.pack("<II", index, U32))
                    guest.queues[0].kick()
                    self.settle(guest, 0.02)

    def chain(self, guest, *descriptors, head=0):
        """(address, length, flags, next) in the first slots of the table."""
        ring = guest.queues[0]
        struct.pack_into("<IIQ", guest.memory.map, guest.places[0], IN, 0, 0)
        for slot, descriptor in enumerate(descriptors):
            ring.describe(slot, *descriptor)
        ring.publish(head)
        ring.kick()
        self.settle(guest, 0.02)

    def test_chains(self):
        with self.attack() as probe:
            start = probe.memory.guest + probe.places[0]
            end = probe.memory.guest + probe.memory.size
        header = (start, 16, NEXT, 1)
        status = (start + 16, 1, WRITE, 0)
        for chain in (
            [(start, 16, NEXT, 0)],  # A loop of one.
            [(start, 16, NEXT, 1), (start, 16, NEXT, 0)],
            [header, (start, 512, WRITE | NEXT, 1)],
            [(start, 16, NEXT, 16)],  # Beyond the table.
            [(start, 16, NEXT, U16)],
            [(start, 16, 0, 0)],  # No status.
            [(start, 16, WRITE, 0)],
            [(start, 0, NEXT, 1), (start, 0, WRITE, 0)],
            [(start, 15, NEXT, 1), status],
            [(start, U32, NEXT, 1), status],
            [header, (start + 4096, U32, WRITE | NEXT, 2), status],
            [header, (U64 - 511, 512, WRITE | NEXT, 2), status],
            [header, (end - 256, 512, WRITE | NEXT, 2), status],
            [header, (end, 512, WRITE | NEXT, 2), status],
            [header, (0, 512, WRITE | NEXT, 2), status],
            [(start, 16, WRITE | NEXT, 1), (start + 64, 512, NEXT, 2), status],
            [header, (start + 4096, 512, U16, 2), status],
            # All on one place: request, data and status.
            [header, (start, 512, WRITE | NEXT, 2), (start, 1, WRITE, 0)],
            # The ring itself as data.
            [header, (end & ~0xFFFFF, 4096, WRITE | NEXT, 2), status],
        ):
            with self.attack() as guest:
                guest.start()
                self.chain(guest, *chain)
        for head in (16, 17, 1000, U16):
            with self.attack() as guest:
                guest.start()
                self.chain(guest, header, status, head=head)

    def test_indirect_tables(self):
        with self.attack() as probe:
            start = probe.memory.guest + probe.places[0]
            end = probe.memory.guest + probe.memory.size
        for address, length in (
            (start, 0),
            (start, 15),
            (start, 17),
            (start, U32),
            (start, 16 * 65536),
            (start, 0xFFFFFFF0),
            (end - 16, 32),
            (end, 16),
            (0, 16),
            (U64 - 15, 32),
            (start + 1, 32),
        ):
            for flags in (INDIRECT, INDIRECT | NEXT, INDIRECT | WRITE):
                with self.attack() as guest:
                    guest.start()
                    self.chain(guest, (address, length, flags, 0))
        # A table within a table, and tables with loops.
        for inner in (
            [(start + 8192, 32, INDIRECT, 0)],
            [(start, 16, NEXT, 0)],
            [(start, 16, NEXT, 1), (start, 16, NEXT, 0)],
            [(start, 16, NEXT, 2)],
        ):
            with self.attack() as guest:
                guest.start()
                for slot, descriptor in enumerate(inner):
                    table = guest.places[0] + 8192
                    guest.queues[0].describe(slot, *descriptor, table=table)
                self.chain(guest, (start + 8192, 16 * len(inner), INDIRECT, 0))

    def test_requests(self):
        """Right chains with wrong words."""
        ranges = (
            (U64, U32, 0),
            (0, U32, U32),
            (1 << 63, 1, 0),
            (U64 // 512, 8, 1),
            (0, 0, 0),
        )
        for kind in (IN, OUT, GET_ID, DISCARD, WRITE_ZEROES, U32, 1 << 31):
            for sector in (0, U64, 1 << 54, 1 << 63):
                with self.attack() as guest:
                    guest.start()
                    guest.submit(kind, sector, length=512)
                    guest.submit(kind, sector, data=bytes(512))
                    guest.submit(kind, sector)
                    guest.submit(kind, sector, data=bytes(7), length=9)
                    self.settle(guest, 0.02)
            for words in ranges:
                with self.attack() as guest:
                    guest.start()
                    guest.submit(kind, 0, data=struct.pack("<QII", *words) * 16)
                    guest.submit(kind, 0, data=struct.pack("<QII", *words)[:15])
                    self.settle(guest, 0.02)

    def test_random_rings(self):
        """Right rings in which bytes change under the server's eyes."""
        end = time.monotonic() + 2 * SECONDS
        while time.monotonic() < end:
            with self.attack() as guest:
                guest.start()
                guest.wire.socket.settimeout(0.2)
                ring = guest.queues[0]
                for _ in range(self.random.randrange(1, 60)):
                    self.change(guest, ring)
                    if len(ring.free) > 3 and self.random.randrange(3) == 0:
                        kind = self.random.choice((IN, OUT, DISCARD, GET_ID))
                        guest.submit(
                            kind,
                            self.random.randrange(1 << 17),
                            self.random.randbytes(16),
                            512,
                        )
                    ring.kick()
                guest.capacity()

    def change(self, guest, ring):
        place = self.random.randrange(ring.table, ring.end)
        if self.random.randrange(3) == 0:
            place = ring.available + self.random.randrange(4)
        guest.memory.map[place] = self.random.randrange(256)

    def test_content_that_changes_meanwhile(self):
        """A write's bytes change as they are read: any of them is stored, not more."""
        with self.attack() as guest:
            guest.start()
            stop = threading.Event()
            body = guest.places[0]

            def change():
                while not stop.is_set():
                    for at in range(16):
                        place = body + at * 8192 + 4096
                        guest.memory.map[place : place + 4096] = os.urandom(4096)

            thread = threading.Thread(target=change)
            thread.start()
            try:
                end = time.monotonic() + SECONDS
                while time.monotonic() < end:
                    self.attacks += 1
                    guest.write(4096 * self.random.randrange(1000), b"y" * 4096)
            finally:
                stop.set()
                thread.join()
            for at in range(1000):
                self.assertEqual(len(guest.read(4096 * at, 4096)), 4096)


class Crowds(HostileCase):
    """So many requests under way that several threads serve the queue."""

    DEPTH = 20  # A request has three of 64 descriptors.
    ROOM = 64 << 10

    @contextlib.contextmanager
    def crowd(self):
        """A guest whose requests take long, and many of them under way."""
        self.attacks += 1
        guest = self.let_in(lambda path: Disk(path, size=64, room=self.ROOM))
        try:
            guest.start()
            for _ in range(6):
                self.submit_many(guest)
                while guest.queues[0].chains:
                    guest.queues[0].await_used()
            self.submit_many(guest)
            time.sleep(self.random.random() / 1000)
            yield guest
        finally:
            guest.close()
            self.look()

    def submit_many(self, guest):
        half = self.random.randbytes(self.ROOM // 2) + bytes(self.ROOM // 2)
        for at in range(self.DEPTH):
            sector = at * (self.ROOM // 512)
            if at % 2:
                guest.submit(IN, sector, length=self.ROOM, kick=False)
            else:
                guest.submit(OUT, sector, half, kick=False)
        guest.queues[0].kick()

    def for_a_while(self):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            yield

    def test_leave(self):
        for _ in self.for_a_while():
            with self.crowd():
                pass

    def test_take_memory_away(self):
        for _ in self.for_a_while():
            with self.crowd() as guest, contextlib.suppress(*ENDS):
                size = self.random.choice((0, 4096, 8192, guest.memory.size // 2))
                os.ftruncate(guest.memory.fd, size)
                self.settle(guest)

    def test_stop_and_go_on(self):
        """Whatever stops it, all that was taken is answered, and nothing twice."""
        for _ in self.for_a_while():
            with self.crowd() as guest:
                ring = guest.queues[0]
                base = guest.stop_queue(ring)
                self.assertEqual(base, ring.used_index())
                self.assertLessEqual(len(ring.take_used()), self.DEPTH)
                guest.start_queue(ring, base)
                ring.kick()
                while ring.chains:
                    ring.await_used()
                self.assertEqual(ring.used_index(), ring.next_available)

    def test_change_the_setup(self):
        table = struct.pack("<II", 1, 0)
        for _ in self.for_a_while():
            with self.crowd() as guest, contextlib.suppress(*ENDS):
                full = os.eventfd(0)
                os.eventfd_write(full, U64 - 1)
                small = Memory(MIB)
                fds = {
                    vhost_wire.SET_MEM_TABLE: [small.fd],
                    vhost_wire.SET_VRING_CALL: [full],
                    vhost_wire.SET_VRING_KICK: [full],
                }
                payloads = {vhost_wire.SET_MEM_TABLE: table + small.region()}
                for _ in range(3):
                    request = self.random.choice(
                        (
                            *fds,
                            vhost_wire.SET_VRING_ENABLE,
                            vhost_wire.SET_STATUS,
                            vhost_wire.RESET_DEVICE,
                        )
                    )
                    payload = payloads.get(request, bytes(8))
                    guest.wire.send(request, payload, fds.get(request, ()))
                os.close(full)
                small.close()
                self.settle(guest)

    def test_one_chain_many_times(self):
        """Threads serve the same buffers at once."""
        for _ in self.for_a_while():
            with self.crowd() as guest, contextlib.suppress(*ENDS):
                ring = guest.queues[0]
                ring.publish(*[next(iter(ring.chains))] * 40)
                ring.kick()
                for _ in range(20):
                    place = self.random.randrange(ring.table, ring.end)
                    guest.memory.map[place] = self.random.randrange(256)
                self.settle(guest)


if __name__ == "__main__":
    main()
