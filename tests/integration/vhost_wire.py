"""vhost-user's messages and virtio-blk's rings, for tests that QEMU would not let be.

The numbers are those of QEMU's docs/interop/vhost-user and of virtio 1.2. Only Python's
standard library is used. What is sent is never checked here: hostile guests use it, too.
"""

import array
import contextlib
import errno
import mmap
import os
import select
import socket
import struct

# Messages of the front end.
GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE = range(1, 6)
SET_LOG_BASE, SET_LOG_FD = 6, 7
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = range(8, 12)
SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = range(12, 15)
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM = range(15, 18)
SET_VRING_ENABLE, SET_BACKEND_REQ_FD, GET_CONFIG, SET_CONFIG = 18, 21, 24, 25
GET_INFLIGHT_FD, SET_INFLIGHT_FD, RESET_DEVICE = 31, 32, 34
GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG, SET_STATUS, GET_STATUS = range(36, 41)
# A message of the back end.
CONFIG_CHANGE = 2

VERSION, REPLY, NEED_REPLY = 1, 1 << 2, 1 << 3
NO_FD = 1 << 8  # In the number of a ring: without a descriptor.

# Protocol features, as bits.
P_MQ, P_LOG_SHMFD, P_REPLY_ACK, P_BACKEND_REQ, P_CONFIG = 0, 1, 3, 5, 9
P_INFLIGHT, P_RESET_DEVICE, P_MEM_SLOTS, P_STATUS = 12, 13, 15, 16

# Features, as bits.
F_SIZE_MAX, F_SEG_MAX, F_RO, F_BLK_SIZE, F_FLUSH, F_TOPOLOGY = 1, 2, 5, 6, 9, 10
F_MQ, F_DISCARD, F_WRITE_ZEROES, F_LOG_ALL = 12, 13, 14, 26
F_INDIRECT, F_EVENT_IDX, F_PROTOCOL, F_VERSION_1 = 28, 29, 30, 32

# Requests, and their status.
IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
UNMAP = 1

# Flags of descriptors.
NEXT, WRITE, INDIRECT = 1, 2, 4

SECTOR = 512
TIMEOUT_SECONDS = 60


class Closed(Exception):
    """The server has closed the connection."""


class Memory:
    """A guest's memory, in one memfd. Guest and user addresses differ, and from 0."""

    def __init__(self, size, guest=0x1_0000_0000, user=0x7E00_0000_0000):
        self.size, self.guest, self.user = size, guest, user
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, size)
        self.map = mmap.mmap(self.fd, size)

    def close(self):
        self.map.close()
        os.close(self.fd)

    def region(self):
        return struct.pack("<QQQQ", self.guest, self.size, self.user, 0)


class Wire:
    """A connection. Not for use by several threads."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT_SECONDS)
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise

    def close(self):
        self.socket.close()

    def send_raw(self, data, fds=()):
        ancillary = []
        if fds:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        try:
            sent = self.socket.sendmsg([data], ancillary)
            # Nothing is not sent: the server may have closed already.
            if sent < len(data):
                self.socket.sendall(data[sent:])
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def send(self, request, payload=b"", fds=(), flags=VERSION):
        self.send_raw(struct.pack("<III", request, flags, len(payload)) + payload, fds)

    def _receive(self, count, fds):
        data = b""
        while len(data) < count:
            try:
                part, ancillary, _, _ = self.socket.recvmsg(
                    count - len(data), socket.CMSG_SPACE(8 * 4)
                )
            except ConnectionResetError as error:
                raise Closed from error
            for _, kind, value in ancillary:
                assert kind == socket.SCM_RIGHTS
                fds += array.array("i", value[: len(value) // 4 * 4])
            if not part:
                raise Closed
            data += part
        return data

    def receive(self):
        """The next message: its number, flags, payload and descriptors."""
        fds = []
        request, flags, size = struct.unpack("<III", self._receive(12, fds))
        return request, flags, self._receive(size, fds), fds

    def ask(self, request, payload=b"", fds=()):
        """Sends a message that has a reply: its payload and descriptors."""
        self.send(request, payload, fds)
        answered, flags, data, got = self.receive()
        assert answered == request and flags & REPLY, (answered, hex(flags))
        return data, got

    def number(self, request, payload=b""):
        return struct.unpack("<Q", self.ask(request, payload)[0])[0]

    def acknowledged(self, request, payload=b"", fds=()):
        """Sends it with NEED_REPLY; whether the server took it."""
        self.send(request, payload, fds, VERSION | NEED_REPLY)
        answered, flags, data, _ = self.receive()
        assert answered == request and flags & REPLY, (answered, hex(flags))
        return struct.unpack("<Q", data)[0] == 0

    def is_closed(self):
        """Waits until the server closes; what comes before is thrown away."""
        try:
            while True:
                self._receive(1, [])
        except Closed:
            return True


class Queue:
    """A split ring at `place` of a guest's memory."""

    def __init__(self, memory, index, size, place):
        self.memory, self.index, self.size = memory, index, size
        self.table = place
        self.available = self.table + 16 * size
        self.used = (self.available + 6 + 2 * size + 63) // 64 * 64
        self.end = self.used + 6 + 8 * size
        memory.map[place : self.end] = bytes(self.end - place)
        self.next_available = self.next_used = 0
        self.free = list(range(size))
        self.chains = {}  # The descriptors of a head.
        self.kick_fd, self.call_fd = os.eventfd(0), os.eventfd(0, os.EFD_NONBLOCK)

    def close(self):
        os.close(self.kick_fd)
        os.close(self.call_fd)

    def address(self):
        """The payload of SET_VRING_ADDR."""
        user = self.memory.user
        return struct.pack(
            "<IIQQQQ",
            self.index,
            0,
            user + self.table,
            user + self.used,
            user + self.available,
            0,
        )

    def describe(self, slot, address, length, flags=0, following=0, table=None):
        """Writes a descriptor, of the ring's table or of one elsewhere."""
        place = (self.table if table is None else table) + 16 * slot
        struct.pack_into(
            "<QIHH", self.memory.map, place, address, length, flags, following
        )

    def publish(self, *heads):
        for head in heads:
            place = self.available + 4 + 2 * (self.next_available % self.size)
            struct.pack_into("<H", self.memory.map, place, head)
            self.next_available = (self.next_available + 1) % (1 << 16)
        self.store(self.available + 2, self.next_available)

    def store(self, place, number):
        """At once, as the server looks meanwhile: pack_into would store a 0 before."""
        with memoryview(self.memory.map) as view, view.cast("H") as numbers:
            numbers[place // 2] = number

    def kick(self):
        os.eventfd_write(self.kick_fd, 1)

    def want_calls(self):
        """With EVENT_IDX: the server tells of the next used element."""
        self.store(self.available + 4 + 2 * self.size, self.next_used)

    def add(self, parts):
        """A chain of (place in memory, length, writable): its head."""
        slots = [self.free.pop() for _ in parts]
        for at, (slot, (place, length, writable)) in enumerate(
            zip(slots, parts, strict=True)
        ):
            last = at == len(parts) - 1
            self.describe(
                slot,
                self.memory.guest + place,
                length,
                (WRITE if writable else 0) | (0 if last else NEXT),
                0 if last else slots[at + 1],
            )
        self.chains[slots[0]] = slots
        return slots[0]

    def used_index(self):
        return struct.unpack_from("<H", self.memory.map, self.used + 2)[0]

    def take_used(self):
        """What the server has answered since: (head, length) of each."""
        answered = []
        while self.next_used != self.used_index():
            place = self.used + 4 + 8 * (self.next_used % self.size)
            head, length = struct.unpack_from("<II", self.memory.map, place)
            self.free += self.chains.pop(head, [])
            answered.append((head, length))
            self.next_used = (self.next_used + 1) % (1 << 16)
        return answered

    def await_call(self, seconds=TIMEOUT_SECONDS):
        """Waits until the server calls; whether it did."""
        if not select.select([self.call_fd], [], [], seconds)[0]:
            return False
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.call_fd)
        return True

    def drain_calls(self):
        """Waits until no more come."""
        while self.await_call(1):
            pass

    def await_used(self, seconds=TIMEOUT_SECONDS):
        """Waits for answers, by the server's calls: those that came."""
        self.want_calls()
        answered = self.take_used()
        while not answered:
            if not self.await_call(seconds):
                raise TimeoutError(f"no answer on queue {self.index}")
            answered = self.take_used()
        return answered


class Disk:
    """A guest with a disk: what a driver does, request by request.

    Each slot of a queue has a page for headers and `room` bytes for data.
    """

    WANTED = sum(
        1 << bit
        for bit in (
            *(F_SEG_MAX, F_BLK_SIZE, F_FLUSH, F_MQ, F_DISCARD, F_WRITE_ZEROES),
            *(F_INDIRECT, F_EVENT_IDX, F_PROTOCOL, F_VERSION_1),
        )
    )
    PROTOCOL = sum(
        1 << bit
        for bit in (P_MQ, P_REPLY_ACK, P_BACKEND_REQ, P_CONFIG, P_INFLIGHT, P_STATUS)
    )

    def __init__(self, path, queues=1, size=64, room=1 << 16, wanted=WANTED):
        self.wanted = wanted
        self.inflight = None  # Its descriptor and layout.
        self.connect(path)
        self.room = room
        rings = ((16 + 2 + 8) * size + 4096) // 4096 * 4096 + 4096
        per_queue = rings + size * (4096 + room)
        self.memory = Memory(queues * per_queue)
        self.queues = [
            Queue(self.memory, at, size, at * per_queue) for at in range(queues)
        ]
        self.places = [at * per_queue + rings for at in range(queues)]

    def connect(self, path):
        """Greets the server and agrees on features."""
        self.wire = wire = Wire(path)
        try:
            self.agree(wire)
        except Exception:
            wire.close()
            raise

    def agree(self, wire):
        self.offered = wire.number(GET_FEATURES)
        self.features = self.offered & self.wanted
        self.protocol = wire.number(GET_PROTOCOL_FEATURES) & self.PROTOCOL
        wire.send(SET_PROTOCOL_FEATURES, struct.pack("<Q", self.protocol))
        wire.send(SET_OWNER)
        wire.send(SET_FEATURES, struct.pack("<Q", self.features))

    def start(self, base=None):
        """Shares memory and rings; they run from then on."""
        self.share_memory()
        self.share_inflight()
        for queue in self.queues:
            self.start_queue(queue, queue.used_index() if base is None else base)
        return self

    def share_memory(self):
        self.wire.send(
            SET_MEM_TABLE,
            struct.pack("<II", 1, 0) + self.memory.region(),
            [self.memory.fd],
        )

    def share_inflight(self):
        """The region that tells a later server what was under way."""
        if not self.protocol >> P_INFLIGHT & 1:
            return
        if self.inflight is None:
            shape = struct.pack("<HH", len(self.queues), self.queues[0].size)
            layout, fds = self.wire.ask(GET_INFLIGHT_FD, bytes(16) + shape)
            [fd] = fds
            self.inflight = fd, layout
        fd, layout = self.inflight
        self.wire.send(SET_INFLIGHT_FD, layout, [fd])

    def start_queue(self, queue, base=0):
        wire, index = self.wire, queue.index
        wire.send(SET_VRING_NUM, struct.pack("<II", index, queue.size))
        wire.send(SET_VRING_BASE, struct.pack("<II", index, base))
        wire.send(SET_VRING_ADDR, queue.address())
        wire.send(SET_VRING_CALL, struct.pack("<Q", index), [queue.call_fd])
        wire.send(SET_VRING_KICK, struct.pack("<Q", index), [queue.kick_fd])
        if self.features >> F_PROTOCOL & 1:
            wire.send(SET_VRING_ENABLE, struct.pack("<II", index, 1))

    def stop_queue(self, queue):
        """Where the server would go on."""
        payload = struct.pack("<II", queue.index, 0)
        data, _ = self.wire.ask(GET_VRING_BASE, payload)
        return struct.unpack("<II", data)[1]

    def reconnect(self, path):
        """To a new server: with the same memory, rings and requests under way."""
        self.wire.close()
        self.connect(path)
        self.start()
        for queue in self.queues:
            queue.kick()

    def close(self):
        self.wire.close()
        for queue in self.queues:
            queue.close()
        self.memory.close()
        if self.inflight:
            os.close(self.inflight[0])

    # The device's configuration.

    def config(self, length=60):
        payload = struct.pack("<III", 0, length, 0) + bytes(length)
        data, _ = self.wire.ask(GET_CONFIG, payload)
        assert len(data) == len(payload), data
        return data[12:]

    def capacity(self):
        """In bytes."""
        return struct.unpack_from("<Q", self.config())[0] * SECTOR

    def listen_to_changes(self):
        """A socket on which the server tells that the configuration has changed."""
        ours, theirs = socket.socketpair()
        ours.settimeout(TIMEOUT_SECONDS)
        self.wire.send(SET_BACKEND_REQ_FD, fds=[theirs.fileno()])
        theirs.close()
        return ours

    # Requests.

    def submit(self, kind, sector=0, data=b"", length=0, queue=0, kick=True):
        """Sends a request whose data goes there (`data`) and comes back (`length`)."""
        ring = self.queues[queue]
        slot = ring.free[-1]
        header = self.places[queue] + slot * (4096 + self.room)
        body = header + 4096
        struct.pack_into("<IIQ", self.memory.map, header, kind, 0, sector)
        self.memory.map[header + 16] = 0xFF
        assert max(len(data), length) <= self.room
        parts = [(header, 16, False)]
        if data:
            self.memory.map[body : body + len(data)] = data
            parts.append((body, len(data), False))
        if length:
            parts.append((body, length, True))
        parts.append((header + 16, 1, True))
        head = ring.add(parts)
        assert head == slot
        ring.publish(head)
        if kick:
            ring.kick()
        return head

    def result(self, head, length=0, queue=0):
        """Of a request that was answered: its status, and the data."""
        header = self.places[queue] + head * (4096 + self.room)
        body = header + 4096
        return self.memory.map[header + 16], self.memory.map[body : body + length]

    def request(self, kind, sector=0, data=b"", length=0, queue=0):
        """Sends one alone: its status, and the data that came back."""
        head = self.submit(kind, sector, data, length, queue)
        answered = self.queues[queue].await_used()
        assert [slot for slot, _ in answered] == [head], answered
        return self.result(head, length, queue)

    def read(self, offset, length, queue=0):
        status, data = self.request(IN, offset // SECTOR, length=length, queue=queue)
        assert status == OK, status
        return data

    def write(self, offset, data, queue=0):
        status, _ = self.request(OUT, offset // SECTOR, data, queue=queue)
        assert status == OK, status

    def range_request(self, kind, offset, length, flags=0, queue=0):
        """DISCARD or WRITE_ZEROES: the status."""
        data = struct.pack("<QII", offset // SECTOR, length // SECTOR, flags)
        return self.request(kind, 0, data, queue=queue)[0]


def connectable(path):
    """Whether a server listens there."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
                return False
            raise
    return True
