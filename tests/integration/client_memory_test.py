#!/usr/bin/python3
"""Clients that ask for much and take nothing, while honest ones go on with
their work. Arguments: the path of ramvold, and unittest's. Each prints what it
cost; the attacks are bounded."""

import os
import re
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import grpc

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import side_by_side
from h2_wire import (
    ACK,
    DATA,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    UPDATE,
    connect,
    frame,
    headers,
)

ARGUMENTS = [sys.argv.pop(1)]
RAMVOLD = os.path.realpath(ARGUMENTS[0])
STRANGER = "127.0.0.2"
PATIENCE = 240  # Seconds; for a busy machine, not what is normal.
MIB = 1 << 20
MOST = 16 * MIB  # Data of one operation.
with open(RAMVOLD, "rb") as program:
    KEEPS_FREED = b"__asan_init" in program.read()


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value)


def data(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


def framed(message):
    return b"\x00" + struct.pack(">I", len(message)) + message


def read_request(length):
    return data(1, b"disk") + number(3, length)


def io_read(identity, length):
    return data(2, number(1, identity) + data(2, number(2, length)))


def method(channel, name):
    kind = channel.stream_stream if name == "BlockService/Io" else (channel.unary_unary)
    return kind(
        "/ramvol.v1." + name,
        request_serializer=lambda value: value,
        response_deserializer=lambda value: value,
    )


class Frames:
    """What comes over a connection, frame by frame."""

    def __init__(self, wire):
        self.wire = wire
        self.seen = b""

    def take(self, size):
        while len(self.seen) < size:
            more = self.wire.recv(1 << 16)
            if not more:
                raise ConnectionError("closed")
            self.seen += more
        out, self.seen = self.seen[:size], self.seen[size:]
        return out

    def next(self):
        head = self.take(9)
        payload = self.take(int.from_bytes(head[:3], "big"))
        return head[3], head[4], int.from_bytes(head[5:], "big"), payload


class Polite(threading.Thread):
    """Answers settings and pings, and opens no window."""

    def __init__(self, wire):
        super().__init__(daemon=True)
        self.wire = wire
        self.told = b""  # All headers' blocks.
        self.start()

    def run(self):
        frames = Frames(self.wire)
        self.wire.settimeout(None)
        try:
            while True:
                kind, flags, _, payload = frames.next()
                if kind in (SETTINGS, PING) and not flags & ACK:
                    answer = payload if kind == PING else b""
                    self.wire.sendall(frame(kind, ACK, 0, answer))
                if kind == HEADERS:
                    self.told += payload
        except (OSError, ConnectionError):
            pass


class Dawdler(threading.Thread):
    """Sends all of some streams' messages but the last byte, as far as the
    windows allow."""

    def __init__(self, wire, streams, size):
        super().__init__(daemon=True)
        self.wire = wire
        self.whole = 65535  # The connection's window.
        self.windows = dict.fromkeys(streams, 65535)
        message = framed(data(1, b"disk") + data(3, bytes(size)))[:-1]
        self.left = dict.fromkeys(streams, memoryview(message))
        self.start()

    def run(self):
        frames = Frames(self.wire)
        self.wire.settimeout(None)
        try:
            for stream in self.windows:
                self.wire.sendall(headers(stream, path="/ramvol.v1.BlockService/Write"))
            while True:
                for stream in list(self.windows):
                    self.send(stream)
                self.answer(*frames.next())
        except (OSError, ConnectionError):
            pass

    def send(self, stream):
        left = self.left[stream]
        while size := min(16384, self.whole, self.windows[stream], len(left)):
            self.wire.sendall(frame(DATA, 0, stream, bytes(left[:size])))
            self.whole -= size
            self.windows[stream] -= size
            left = left[size:]
        self.left[stream] = left

    def answer(self, kind, flags, stream, payload):
        if kind in (SETTINGS, PING) and not flags & ACK:
            self.wire.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind == UPDATE and stream == 0:
            self.whole += int.from_bytes(payload, "big")
        elif kind == UPDATE and stream in self.windows:
            self.windows[stream] += int.from_bytes(payload, "big")
        elif kind == HEADERS:  # It was refused.
            self.windows.pop(stream, None)


class Case(unittest.TestCase):
    def setUp(self):
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.addCleanup(self.log.close)
        self.process = subprocess.Popen(
            [
                RAMVOLD,
                "--listen=127.0.0.1:0",
                "--metrics_listen=127.0.0.1:0",
                "--memory_limit=256M",
            ],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self.addCleanup(self.stop)
        ready = self.process.stdout.readline()
        self.port = int(re.search(r"grpc 127.0.0.1:(\d+)", ready).group(1))
        self.http = int(re.search(r"http://127.0.0.1:(\d+)", ready).group(1))
        self.address = f"127.0.0.1:{self.port}"
        with self.channel() as channel:
            method(channel, "VolumeService/CreateVolume")(
                data(1, b"disk") + number(2, 4 * MOST), timeout=PATIENCE
            )
            # So that malloc has what honest work takes.
            method(channel, "BlockService/Read")(read_request(MOST), timeout=PATIENCE)
        self.before = self.peak()

    def stop(self):
        print(
            f"{self.id().split('.')[-1]}: {(self.peak() - self.before) / MIB:.0f} MiB",
            flush=True,
        )
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    def peak(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1)) * 1024

    def channel(self):
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", -1),
        ]
        return grpc.insecure_channel(self.address, options)

    def wire(self, **how):
        wire = connect(self.port, STRANGER, **how)
        self.addCleanup(wire.close)
        return wire

    def honest(self):
        """Each kind of work once; the slowest, in seconds."""
        slowest = 0

        def timed(name, work):
            nonlocal slowest
            begin = time.monotonic()
            self.assertGreaterEqual(len(work()), MIB, name)
            took = time.monotonic() - begin
            print(f"  {name}: {took:.1f} s", flush=True)
            slowest = max(slowest, took)

        def stream():
            messages = iter([data(1, b"disk") + io_read(1, MIB)])
            got = list(method(channel, "BlockService/Io")(messages, timeout=PATIENCE))
            return got[-1]

        with self.channel() as channel:
            read = method(channel, "BlockService/Read")
            timed("1 MiB", lambda: read(read_request(MIB), timeout=PATIENCE))
            timed("16 MiB", lambda: read(read_request(MOST), timeout=PATIENCE))
            timed("Io, 1 MiB", stream)
        return slowest

    def assert_bounded(self):
        """The default client memory, and what malloc and threads add."""
        if not KEEPS_FREED:
            self.assertLess(self.peak() - self.before, (160 + 64) * MIB)

    def write(self, size=MOST, **how):
        with self.channel() as channel:
            write = method(channel, "BlockService/Write")
            write(data(1, b"disk") + data(3, bytes(size)), timeout=PATIENCE, **how)

    def settle(self):
        """Until memory hardly grows. Under ASan, which keeps what is freed, it
        always does a little."""
        last = -MIB
        while self.peak() - last >= MIB:
            last = self.peak()
            time.sleep(1)

    def open_streams(self, wire, count):
        """Io streams that ask for two reads of 16 MiB each."""
        frames = Frames(wire)
        wire.sendall(frame(SETTINGS, ACK))
        ids = range(1, 2 * count, 2)
        for i in ids:
            wire.sendall(
                headers(i, path="/ramvol.v1.BlockService/Io")
                + frame(DATA, 0, i, framed(data(1, b"disk")))
            )
        opened = set()
        while len(opened) < count:
            kind, _, stream, _ = frames.next()
            if kind == DATA:
                opened.add(stream)
        ask = framed(io_read(1, MOST) + io_read(2, MOST))
        for i in ids:
            wire.sendall(frame(DATA, 0, i, ask))


class UnreadStreams(Case):
    """They took 28 MiB each."""

    def attack(self, connections, streams):
        for _ in range(connections):
            self.open_streams(self.wire(), streams)
        self.settle()
        self.honest()
        self.assert_bounded()

    def test_23_connections(self):
        self.attack(23, 1)

    def test_one_connection(self):
        self.attack(1, 32)

    def test_64_connections(self):
        self.attack(64, 1)


class StalledReads(Case):
    """Unary reads of 16 MiB whose clients open no window."""

    def attack(self, count, polite=True):
        self.clients = []
        hello = PREFACE + frame(SETTINGS)
        if not polite:
            # All windows are open, and nothing is read.
            hello = (
                PREFACE
                + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0x7FFFFFFF))
                + frame(UPDATE, 0, 0, struct.pack(">I", 0x7FFF0000 - 65535))
            )
        for _ in range(count):
            wire = self.wire(hello=hello)
            if polite:
                self.clients.append(Polite(wire))
            wire.sendall(
                headers(1, path="/ramvol.v1.BlockService/Read")
                + frame(DATA, END_STREAM, 1, framed(read_request(MOST)))
            )
        self.settle()
        self.honest()
        self.assert_bounded()

    def test_3(self):
        self.attack(3)

    def test_17(self):
        self.attack(17)
        away = (
            rf"client_sent_away client={STRANGER}:\d+ over=grpc reason=CLIENT_TOO_SLOW"
        )
        end = time.monotonic() + PATIENCE
        while not (self.one_was_told() and re.search(away, self.log_text())):
            self.assertLess(time.monotonic(), end, self.log_text()[-2000:])
            time.sleep(0.05)

    def one_was_told(self):
        said = b"CLIENT_TOO_SLOW: the call held"
        return any(said in client.told for client in self.clients)

    def log_text(self):
        # The program writes where this descriptor stands.
        return os.pread(self.log.fileno(), 1 << 24, 0).decode()

    def test_64_that_do_not_read(self):
        self.attack(64, polite=False)


class UnsentWrites(Case):
    """Clients that send all of their messages but the last byte."""

    def attack(self, connections, streams, size):
        clients = [
            Dawdler(self.wire(), range(1, 2 * streams, 2), size)
            for _ in range(connections)
        ]
        self.settle()
        begin = time.monotonic()
        self.write()
        print(f"  write of 16 MiB: {time.monotonic() - begin:.1f} s", flush=True)
        self.honest()
        self.assert_bounded()
        return clients

    def test_64_of_16_mib(self):
        self.attack(64, 1, MOST)

    def test_100_of_16_mib_on_one_connection(self):
        self.attack(1, 100, MOST)

    def test_many_of_60_kib(self):
        self.attack(20, 100, 60 << 10)


class TooLong(Case):
    def test_is_refused_before_it_is_there(self):
        for size in [34 * MIB, 300 * MIB]:
            with self.assertRaises(grpc.RpcError) as caught:
                self.write(size)
            self.assertEqual(
                caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED
            )
            self.assertIn("larger than max", caught.exception.details())
        self.assert_bounded()
        self.assertLess(self.peak() - self.before, 30 * MIB)


class Compressed(Case):
    """A few bytes would become megabytes once they are in."""

    def test_is_refused(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.write(compression=grpc.Compression.Gzip)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)
        self.write()


class ManyWrites(Case):
    """Honest ones, more at once than there is memory for."""

    def test_32_of_16_mib(self):
        begin = time.monotonic()
        self.failed = []

        def write():
            end = time.monotonic() + PATIENCE
            while True:
                sent = time.monotonic()
                try:
                    return self.write()
                except grpc.RpcError as error:
                    # 16 MiB have 14 seconds while others wait. This process may
                    # have too little of the processor for that.
                    late = time.monotonic() - sent >= 14
                    slow = late and "CLIENT_TOO_SLOW" in error.details()
                    if not slow or time.monotonic() > end:
                        return self.failed.append(error)

        threads = [threading.Thread(target=write) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(f"  32 writes: {time.monotonic() - begin:.1f} s", flush=True)
        self.assertEqual(self.failed, [])
        self.assert_bounded()


if __name__ == "__main__":
    side_by_side.main(ARGUMENTS)
