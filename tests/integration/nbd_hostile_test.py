"""Clients that misbehave, while one that behaves goes on with its work.

NBD_SEED replays the choices of a run. HOSTILE_SECONDS is how long each test with
random bytes lasts.
"""

import os
import random
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
import unittest

from nbd_python import (
    GIB,
    HOST,
    MIB,
    PID,
    PORT,
    SEED,
    SOCKET,
    WAY,
    logical_bytes,
    make_volume,
    stat,
)
from nbd_wire import (
    CMD_BLOCK_STATUS,
    CMD_DISC,
    CMD_FLUSH,
    CMD_READ,
    CMD_WRITE,
    FIXED_NEWSTYLE,
    FLAG_PAYLOAD,
    INFO_BLOCK_SIZE,
    INFO_NAME,
    OPT_GO,
    OPT_INFO,
    OPT_LIST,
    OPT_SET_META_CONTEXT,
    OPT_STRUCTURED_REPLY,
    OPTION_MAGIC,
    REP_ACK,
    Closed,
    Wire,
    context_request,
    info_request,
)

PATIENCE = 120  # Seconds; for a busy machine, not what is normal.
SECONDS = float(os.environ.get("HOSTILE_SECONDS", 1.5))
# What one connection may hold: the unanswered requests, and some room.
CONNECTION_BYTES = 96 * MIB
# The client memory: ramvold has a small memory limit.
BUFFER_BYTES = (96 if WAY == "inprocess" else 512) * MIB
# What malloc and threads may keep beyond that.
SLACK_BYTES = 128 * MIB


def resident_bytes(pid=PID):
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("the server is gone")


def reset(wire):
    """Closes it by RST, where there is such a thing."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


class Case(unittest.TestCase):
    def setUp(self):
        self.random = random.Random(f"{SEED} {self.id()}")
        self.volume = make_volume(self)
        self.bystander = self.wire()
        self.bystander.go(self.volume)
        self.content = bytearray(self.random.randbytes(4 * MIB))
        self.bystander.write(0, bytes(self.content))

    def tearDown(self):
        if sys.exc_info()[0] is None:
            self.work_on(20)
            self.assertEqual(
                self.bystander.read(0, len(self.content)), bytes(self.content)
            )

    def wire(self, *arguments, tcp=False, **settings):
        wire = Wire((HOST, PORT) if tcp else SOCKET, *arguments, **settings)
        self.addCleanup(wire.close)
        return wire

    def work_on(self, count):
        """The bystander's own requests: seconds for the slowest of them."""
        slowest = 0
        for _ in range(count):
            begin = time.monotonic()
            length = self.random.randrange(1, 20000)
            offset = self.random.randrange(len(self.content) - length)
            if self.random.randrange(2):
                data = self.random.randbytes(length)
                self.bystander.write(offset, data)
                self.content[offset : offset + length] = data
            else:
                self.assertEqual(
                    self.bystander.read(offset, length),
                    self.content[offset : offset + length],
                )
            slowest = max(slowest, time.monotonic() - begin)
        return slowest

    def until(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.05)


class RandomBytes(Case):
    """At every stage of a connection."""

    def stages(self):
        """Connections that have come so far, each with its own volume's name."""
        volume = make_volume(self, 64 * MIB)

        def in_transmission(prepare):
            wire = Wire(SOCKET)
            prepare(wire)
            wire.go(volume)
            return wire

        return volume, {
            "greeting": lambda: Wire(SOCKET, greet=False),
            "options": lambda: Wire((HOST, PORT)),
            "structured": lambda: in_transmission(Wire.use_structured),
            "extended": lambda: in_transmission(Wire.use_extended),
            "simple": lambda: in_transmission(lambda wire: None),
        }

    def attack(self, make_bytes):
        volume, stages = self.stages()
        count = 0
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            stage = self.random.choice(list(stages))
            with stages[stage]() as wire:
                wire.socket.settimeout(5)
                try:
                    wire.send(make_bytes(stage, wire, volume))
                    how = self.random.randrange(4)
                    if how == 0:
                        reset(wire)
                    elif how == 1:
                        wire.socket.shutdown(socket.SHUT_WR)
                        wire.is_closed()
                    elif how == 2:
                        select.select([wire.socket], [], [], 0.01)
                except (Closed, OSError):  # What the server ended.
                    pass
            count += 1
            if count % 20 == 0:
                self.work_on(1)
        print(f"{count} connections", end=" ", flush=True)
        self.until(lambda: stat(volume)["attachedClients"] == 0, "still attached")

    def test_noise(self):
        self.attack(
            lambda *_: self.random.randbytes(int(100000 ** self.random.random()))
        )

    def test_valid_heads_and_noise(self):
        def make(stage, wire, volume):
            out = bytearray()
            for _ in range(self.random.randrange(1, 20)):
                noise = self.random.randbytes(self.random.randrange(300))
                length = self.random.choice([len(noise), 1 << 31, 7, 0])
                if stage == "greeting":
                    out += struct.pack(">I", self.random.randrange(4))
                    stage = "options"
                if stage == "options":
                    option = self.random.randrange(13)
                    out += OPTION_MAGIC
                    out += struct.pack(">II", option, length) + noise
                else:
                    out += wire.header(
                        self.random.randrange(9),
                        self.random.choice([0, 1 << self.random.randrange(16)]),
                        self.random.choice([0, 1 << 40, (1 << 64) - 1]),
                        length,
                        self.random.getrandbits(64),
                    )
                    out += noise
            return bytes(out)

        self.attack(make)

    def test_valid_sessions_with_flipped_bits(self):
        def make(stage, wire, volume):
            out = bytearray()
            if stage == "greeting":
                out += struct.pack(">I", 3)
            if stage in ("greeting", "options"):
                for option, data in (
                    (OPT_STRUCTURED_REPLY, b""),
                    (OPT_LIST, b""),
                    (OPT_SET_META_CONTEXT, context_request(volume, "base:allocation")),
                    (OPT_INFO, info_request(volume, INFO_BLOCK_SIZE)),
                    (OPT_GO, info_request(volume, INFO_NAME)),
                ):
                    out += OPTION_MAGIC + struct.pack(">II", option, len(data)) + data
            for command in range(8):
                payload = bytes(512) if command == CMD_WRITE else b""
                flags = FLAG_PAYLOAD if payload and wire.extended else 0
                if command == CMD_DISC:
                    continue
                length = 0 if command == CMD_FLUSH else 512
                out += wire.header(command, flags, 0, length, command) + payload
            for _ in range(self.random.randrange(1, 4)):
                bit = self.random.randrange(len(out) * 8)
                out[bit // 8] ^= 1 << bit % 8
            return bytes(out)

        self.attack(make)


class HugeLengths(Case):
    def test_in_options(self):
        before = resident_bytes()
        for option in range(14):
            for length in 1 << 24, (1 << 31) + 1, (1 << 32) - 1:
                wire = self.wire()
                wire.send_option(option, bytes(1000), length)
        self.work_on(50)
        self.assertLess(resident_bytes(), before + SLACK_BYTES)

    def test_in_requests(self):
        victim = make_volume(self)
        before = resident_bytes()
        wires = []
        for prepare in Wire.use_extended, Wire.use_structured, lambda wire: None:
            for command in range(9):
                for offset in 0, (1 << 63) - 1, (1 << 64) - 1:
                    wire = self.wire()
                    prepare(wire)
                    wire.go(victim)
                    length = (1 << 64) - 1 if wire.extended else (1 << 32) - 1
                    wire.send(wire.header(command, 0, offset, length, 1))
                    wires.append(wire)
        self.work_on(50)
        self.assertLess(resident_bytes(), before + SLACK_BYTES)


class Memory(Case):
    def test_readers_that_never_read(self):
        volume = make_volume(self)
        wire = self.wire()
        wire.go(volume)
        part = self.random.randbytes(16 * MIB)
        for i in range(4):
            wire.write(i * 16 * MIB, part)
        before = resident_bytes()
        count = 4
        deaf = [self.wire(tcp=i % 2 == 0) for i in range(count)]
        for i, wire in enumerate(deaf):
            if i % 2:
                wire.use_structured()
            wire.go(volume)
            wire.socket.setblocking(False)
        end = time.monotonic() + 6
        most = 0
        slowest = 0
        while time.monotonic() < end:
            for wire in deaf:
                try:
                    wire.socket.send(wire.header(CMD_READ, 0, 0, 32 * MIB, 1) * 4)
                except BlockingIOError:
                    pass
            slowest = max(slowest, self.work_on(20))
            most = max(most, resident_bytes())
        print(
            f"{(most - before) // MIB} MiB for {count}, "
            f"the bystander's slowest request {slowest * 1000:.0f} ms",
            end=" ",
        )
        self.assertLess(most, before + count * CONNECTION_BYTES + SLACK_BYTES)
        for wire in deaf:
            wire.close()
        self.until(lambda: stat(volume)["attachedClients"] == 1, "still attached")
        self.until(
            lambda: resident_bytes() < before + SLACK_BYTES,
            "the memory did not come back",
        )

    def test_writers_that_never_finish(self):
        volume = make_volume(self)
        before = resident_bytes()

        def goes_on_beside_them():
            stuck = [self.wire() for _ in range(8)]
            for wire in stuck:
                self.begin_a_write(wire, volume)
            slowest = self.work_on(200)
            print(f"slowest request {slowest * 1000:.0f} ms", end=" ")
            # Some are sent away after a while, as they make each other wait.
            none_had_gone = stat(volume)["attachedClients"] == len(stuck)
            self.assertLess(resident_bytes(), before + BUFFER_BYTES + SLACK_BYTES)
            self.assertEqual(logical_bytes(volume), 0)
            for wire in stuck:
                wire.close()
            self.until(lambda: stat(volume)["attachedClients"] == 0, "still attached")
            return none_had_gone

        self.until(goes_on_beside_them, "others wait until they are sent away")
        self.assertEqual(logical_bytes(volume), 0)

    @staticmethod
    def begin_a_write(wire, volume):
        wire.go(volume)
        wire.send(wire.header(CMD_WRITE, 0, 0, 32 * MIB, 1))
        # Some are let in, and the rest is not read from.
        wire.socket.settimeout(0.5)
        try:
            wire.send(bytes(31 * MIB))
        except TimeoutError:
            pass

    def test_requests_without_end_and_nobody_reads(self):
        volume = make_volume(self)
        before = resident_bytes()
        wire = self.wire()
        wire.use_extended()
        wire.use_context(volume)
        wire.go(volume)
        wire.socket.setblocking(False)
        many = wire.header(CMD_BLOCK_STATUS, 0, 0, GIB, 1) * 500
        end = time.monotonic() + 3
        while time.monotonic() < end:
            try:
                wire.socket.send(many)
            except BlockingIOError:
                self.work_on(5)
        self.assertLess(resident_bytes(), before + CONNECTION_BYTES + SLACK_BYTES)


class Connections(Case):
    def test_many_that_do_nothing(self):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192), most))
        before = resident_bytes()
        idle = []
        # Some only greeted, some negotiating, some in transmission. Behind a
        # bridge each of these takes two of the server's 4096 streams. There is
        # client memory for 256 connections, and others keep a share.
        attached, count = (100, 160) if WAY == "inprocess" else (400, 1000)
        for i in range(count):
            wire = self.wire(tcp=i % 2 == 0, greet=i % 10 != 0)
            if i < attached:
                if i % 10 == 0:
                    wire.receive(18)
                    wire.send(struct.pack(">I", FIXED_NEWSTYLE))
                wire.go(self.volume)
            elif i % 10 == 2:
                wire.send(OPTION_MAGIC[:5])
            idle.append(wire)
        self.assertEqual(stat(self.volume)["attachedClients"], attached + 1)
        slowest = self.work_on(500)
        grown = (resident_bytes() - before) / count
        print(
            f"{grown / 1024:.0f} KiB each, slowest request {slowest * 1000:.0f} ms",
            end=" ",
        )
        self.assertLess(grown, 512 * 1024)
        self.assertEqual(stat(self.volume)["attachedClients"], attached + 1)
        for wire in idle[::2]:
            wire.close()
        for wire in idle[1::2]:
            reset(wire)
        self.until(lambda: stat(self.volume)["attachedClients"] == 1, "still attached")

    def test_half_open_ones(self):
        for stage in range(4):
            for _ in range(50):
                wire = self.wire(greet=stage > 0)
                if stage == 2:
                    wire.send(OPTION_MAGIC + struct.pack(">II", OPT_GO, 100))
                elif stage == 3:
                    wire.go(self.volume)
                    wire.send(wire.header(CMD_WRITE, 0, 0, 1 << 20, 1)[:11])
                # Nothing more comes, and the server cannot tell from where.
                wire.socket.shutdown(socket.SHUT_WR)
        self.work_on(50)
        self.until(lambda: stat(self.volume)["attachedClients"] == 1, "still attached")

    def test_clients_that_connect_and_go(self):
        for i in range(2000):
            wire = Wire((HOST, PORT) if i % 2 else SOCKET, greet=False)
            reset(wire) if i % 3 else wire.close()
        self.work_on(50)

    def test_clients_killed_with_requests_in_flight(self):
        volume = make_volume(self)
        for round_ in range(20):
            child = os.fork()
            if child == 0:
                self.flood(volume, round_)
            self.until(lambda: stat(volume)["attachedClients"] > 0, "never attached")
            time.sleep(self.random.random() * 0.1)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            self.work_on(5)
            self.until(lambda: stat(volume)["attachedClients"] == 0, "still attached")
        # Each block is as one of them wrote it, or empty.
        wire = self.wire()
        wire.go(volume)
        for block in range(0, 64 * MIB, MIB):
            data = wire.read(block, 4096)
            self.assertEqual(data, data[:1] * 4096)

    @staticmethod
    def flood(volume, round_):
        """In a child: writes and reads until it is killed."""
        try:
            wire = Wire(SOCKET if round_ % 2 else (HOST, PORT))
            wire.go(volume)
            data = bytes([round_ + 1]) * MIB
            while True:
                for i in range(64):
                    wire.send(wire.header(CMD_WRITE, 0, i * MIB, MIB, i) + data)
                    if round_ % 4 > 1:
                        wire.send(wire.header(CMD_READ, 0, i * MIB, MIB, i))
                if round_ % 4 == 0:
                    wire.socket.recv(1 << 20)
        finally:
            os._exit(1)


class Slowness(Case):
    def test_a_trickle_of_bytes(self):
        """The bystander's requests come through while they are all on their way."""
        volume = make_volume(self)
        failures = []
        reading = threading.Semaphore(0)
        over = threading.Event()

        def trickle(wire, data):
            for i in range(len(data)):
                wire.send(data[i : i + 1])
                time.sleep(0.002)

        def client():
            try:
                wire = Wire(SOCKET, greet=False)
                assert wire.receive(18)[:8] == b"NBDMAGIC"
                trickle(wire, struct.pack(">I", 3))
                go = info_request(volume)
                trickle(wire, OPTION_MAGIC + struct.pack(">II", OPT_GO, len(go)) + go)
                while wire.receive_option_reply(OPT_GO)[0] != REP_ACK:
                    pass
                data = b"slow" * 100
                wire.lengths[1] = wire.offsets[1] = 0
                trickle(wire, wire.header(CMD_WRITE, 0, 5, 400, 1) + data)
                assert wire.receive_reply().error == 0
                assert wire.read(5, 400) == data
                # And one who reads slowly.
                wire.send(wire.header(CMD_READ, 0, 0, 8 * MIB, 2))
                reading.release()
                while not over.wait(0.002):
                    wire.receive(1)
                wire.close()
            except BaseException as error:  # Of a thread.
                failures.append(repr(error))
                reading.release()

        clients = [threading.Thread(target=client) for _ in range(10)]
        for thread in clients:
            thread.start()
        slowest = 0
        for _ in clients:
            while not reading.acquire(timeout=0.01):
                slowest = max(slowest, self.work_on(10))
        slowest = max(slowest, self.work_on(200))
        over.set()
        for thread in clients:
            thread.join()
        self.assertEqual(failures, [])
        print(f"slowest request {slowest * 1000:.0f} ms", end=" ")
        self.until(lambda: stat(volume)["attachedClients"] == 0, "still attached")


if __name__ == "__main__":
    unittest.main()
