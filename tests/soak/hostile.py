"""Clients that misbehave: each attack is a function, bounded in number and time.

They have a volume of their own, the prey; whatever the server does to them is
right, as long as it keeps its promises to the others.
"""

import random
import socket
import struct
import threading
import time

import api
import bounds
import h2
import h2_wire
import nbd_wire
from bounds import MIB

PREY = "prey"
PREY_BYTES = 64 * MIB
READ_BYTES = 16 * MIB
FOREVER = 3600  # Stop ends it sooner.
# Hosts of the loopback that they come from, so that they are many peers.
_SOURCES = [f"127.0.0.{i}" for i in range(2, 10)]


class Stop:
    """Ends an attack: when its time is up, or when the soak is."""

    def __init__(self, over, seconds):
        self._over, self._end = over, time.monotonic() + seconds

    def wait(self, seconds):
        """Whether it is time to end."""
        left = self._end - time.monotonic()
        return self._over.wait(max(0, min(seconds, left))) or left <= 0


class Doors:
    """Where the servers listen, and how an attacker gets in."""

    def __init__(self, servers, rng):
        self._servers, self.rng = servers, rng
        self.blocks = api.messages("BlockService")
        self.opened = []

    def grpc(self):
        return self._connect(self._servers.folder + "/grpc", self._servers.grpc_tcp)

    def metrics(self):
        return self._connect(None, self._servers.metrics)

    def nbd(self):
        """ramvold's or ramvol-nbd's."""
        if self.rng.randrange(2):
            return self._connect(self._servers.bridge_socket, self._servers.bridge_tcp)
        return self._connect(self._servers.nbd_socket, self._servers.nbd_tcp)

    def any(self):
        return self.rng.choice([self.grpc, self.metrics, self.nbd])()

    def _connect(self, path, host_port):
        host, _, port = host_port.rpartition(":")
        address = (host, int(port))
        if path and self.rng.randrange(2):
            address = path
        connected = h2.connect_from(address, self.rng.choice(_SOURCES))
        self.opened.append(connected)
        return connected

    def wire(self):
        """An NBD connection in transmission."""
        wire = nbd_wire.Wire(self.nbd())
        if self.rng.randrange(2):
            wire.use_structured()
        wire.go(PREY)
        return wire

    def close(self):
        """By RST, some of them."""
        for connected in self.opened:
            if self.rng.randrange(2):
                linger = struct.pack("ii", 1, 0)
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connected.close()
        self.opened.clear()


# gRPC.


def _io_requests(doors):
    """A stream's first messages: two reads of 16 MiB, a whole window."""
    blocks = doors.blocks
    reads = [
        blocks.IoOperation(id=i, read=blocks.IoRead(length=READ_BYTES)) for i in (1, 2)
    ]
    return [
        h2.message(blocks.IoRequest(volume=PREY)),
        h2.message(blocks.IoRequest(operations=reads)),
    ]


def io_that_never_reads(doors, stop):
    connection = h2.Connection(doors.grpc())
    for _ in range(doors.rng.randrange(1, 9)):
        connection.call(h2.IO, *_io_requests(doors))
    stop.wait(FOREVER)


def io_without_window(doors, stop):
    """It reads and acknowledges, and takes no data."""
    connection = h2.Connection(doors.grpc(), window=0)
    for _ in range(doors.rng.randrange(1, 5)):
        connection.call(h2.IO, *_io_requests(doors))
    while not stop.wait(0) and connection.obey(0.5):
        pass


def unary_without_window(doors, stop):
    connection = h2.Connection(doors.grpc(), window=0)
    read = doors.blocks.ReadRequest(volume=PREY, length=READ_BYTES)
    for _ in range(doors.rng.randrange(1, 5)):
        connection.call(h2.READ, h2.message(read), end=True)
    while not stop.wait(0) and connection.obey(0.5):
        pass


def unary_byte_by_byte(doors, stop):
    """It opens its window by a byte at a time."""
    connection = h2.Connection(doors.grpc(), window=1)
    read = doors.blocks.ReadRequest(volume=PREY, length=READ_BYTES)
    stream = connection.call(h2.READ, h2.message(read), end=True)
    one = struct.pack(">I", 1)
    while not stop.wait(0.05) and connection.obey(0.05):
        connection.send(h2_wire.frame(h2_wire.UPDATE, 0, stream, one))


def half_a_message(doors, stop):
    """It says that 16 MiB come, and sends some of them."""
    connection = h2.Connection(doors.grpc())
    write = doors.blocks.WriteRequest(volume=PREY, data=bytes(60000))
    path, *first = doors.rng.choice(
        [
            (h2.WRITE,),
            (h2.IO, h2.message(doors.blocks.IoRequest(volume=PREY))),
        ]
    )
    connection.call(path, *first, h2.message(write, claim=READ_BYTES))
    while not stop.wait(0) and connection.obey(0.5):
        pass


def rapid_resets(doors, stop):
    """Calls that are taken back at once."""
    connection = h2.Connection(doors.grpc())
    read = h2.message(doors.blocks.ReadRequest(volume=PREY, length=READ_BYTES))
    for i in range(doors.rng.randrange(100, 5000)):
        body = [read] if i % 2 else []
        stream = connection.call(h2.READ, *body)
        connection.send(h2_wire.reset(stream))
        if stop.wait(0):
            break


def floods(doors, stop):
    """Headers without end, pings, settings: some thousands."""
    connection = h2.Connection(doors.grpc())
    flood = doors.rng.choice(
        [
            h2_wire.frame(h2_wire.CONTINUATION, 0, 1, b"\0\1x\1y" * 800),
            h2_wire.frame(h2_wire.PING, payload=bytes(8)),
            h2.settings(1000),
        ]
    )
    if flood[3] == h2_wire.CONTINUATION:
        connection.send(h2_wire.headers(1, flags=0))
    for _ in range(2000):
        connection.send(flood)
        if stop.wait(0):
            break


def calls_that_vanish(doors, stop):
    """Large reads, given up in the middle."""
    read = doors.blocks.ReadRequest(volume=PREY, length=READ_BYTES)
    while not stop.wait(0.1):
        connection = h2.Connection(doors.grpc(), window=(1 << 31) - 1)
        connection.call(h2.READ, h2.message(read), end=True)
        connection.obey(doors.rng.random() * 0.1)
        doors.close()


# NBD.


def nbd_that_never_reads(doors, stop):
    wire = doors.wire()
    size, count = doors.rng.choice([(32 * MIB, 4), (256 << 10, 16), (4096, 1000)])
    for _ in range(count):
        wire.send_request(nbd_wire.CMD_READ, 0, size)
    stop.wait(FOREVER)


def nbd_byte_by_byte(doors, stop):
    wire = doors.wire()
    wire.send_request(nbd_wire.CMD_READ, 0, 8 * MIB)
    while not stop.wait(0.01):
        wire.receive(1)


def nbd_half_a_write(doors, stop):
    wire = doors.wire()
    size = doors.rng.choice([256 << 10, 32 * MIB])
    wire.send(wire.header(nbd_wire.CMD_WRITE, 0, 0, size, 1))
    wire.socket.settimeout(1)
    wire.send(bytes(size * doors.rng.randrange(100) // 100))
    stop.wait(FOREVER)


def nbd_that_vanishes(doors, stop):
    """With requests under way, again and again."""
    while not stop.wait(0.1):
        wire = doors.wire()
        for i in range(16):
            wire.send_request(nbd_wire.CMD_READ, i * MIB, MIB)
        doors.close()


# Any door.


def idle(doors, stop):
    """Connections that say nothing, or stop in the middle of their first words."""
    words = [b"", b"", b"PRI * HT", b"GET /met", h2_wire.PREFACE, b"\0" * 4]
    for _ in range(doors.rng.randrange(4, 20)):
        doors.any().sendall(doors.rng.choice(words))
    stop.wait(FOREVER)


def garbage(doors, stop):
    while not stop.wait(0.05):
        connected = doors.any()
        size = int(100000 ** doors.rng.random())
        connected.sendall(
            doors.rng.choice([b"", h2_wire.PREFACE]) + doors.rng.randbytes(size)
        )
        doors.close()


ATTACKS = [
    io_that_never_reads,
    io_without_window,
    unary_without_window,
    unary_byte_by_byte,
    half_a_message,
    rapid_resets,
    floods,
    calls_that_vanish,
    nbd_that_never_reads,
    nbd_byte_by_byte,
    nbd_half_a_write,
    nbd_that_vanishes,
    idle,
    garbage,
]


class Hostile:
    """A thread that attacks in one way after the other until `hostile_over` is set."""

    # Some outlast the time that honest calls may take.
    MOST_SECONDS = 4 * bounds.CALL_SECONDS

    def __init__(self, number, soak):
        self._rng = random.Random(f"hostile {number} {soak.settings.seed}")
        self._soak, self._over = soak, soak.hostile_over
        names = soak.settings.attacks
        self._attacks = [a for a in ATTACKS if not names or a.__name__ in names]
        self.thread = threading.Thread(target=self._run, name=f"hostile-{number}")
        self.thread.start()

    def _run(self):
        while not self._over.wait(self._rng.random()):
            attack = self._rng.choice(self._attacks)
            seconds = self.MOST_SECONDS ** self._rng.random()
            doors = Doors(self._soak.servers, self._rng)
            self._soak.record.count(f"attack {attack.__name__}")
            try:
                attack(doors, Stop(self._over, seconds))
            except (OSError, AssertionError, nbd_wire.Closed):
                # What the server has ended.
                self._soak.record.count(f"ended {attack.__name__}")
            finally:
                doors.close()
