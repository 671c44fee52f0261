"""Front ends that send wrong messages, descriptors and memory (vhost_hostile.py).
Arguments: the paths of ramvold and ramvol."""

import contextlib
import mmap
import os
import socket
import struct
import time

import vhost_wire
from vhost_hostile import ENDS, SECONDS, U16, U32, U64, HostileCase
from vhost_server import MIB, main
from vhost_wire import IN, OUT, Memory, Wire

CONNECTIONS = 300


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


if __name__ == "__main__":
    main()
