#!/usr/bin/python3
"""NBD clients that ask for much and take nothing, at ramvold and ramvol-nbd, while
an honest one reads. Arguments: the paths of ramvold, ramvol and ramvol-nbd, and
unittest's. What the server and the kernel hold stays within the client memory;
each attack prints what it cost."""

import os
import re
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import side_by_side
from nbd_wire import (
    CMD_READ,
    CMD_WRITE,
    FIXED_NEWSTYLE,
    NO_ZEROES,
    OPT_GO,
    OPTION_MAGIC,
    REP_ACK,
    REQUEST_MAGIC,
    Closed,
    info_request,
)

ARGUMENTS = [sys.argv.pop(1) for _ in range(3)]
RAMVOLD, RAMVOL, BRIDGE = (os.path.realpath(path) for path in ARGUMENTS)
PATIENCE = 300  # Seconds; for a busy machine, not what is normal.
KIB, MIB = 1 << 10, 1 << 20
VOLUME = 8 * MIB
# ASan keeps what is freed, so memory says nothing.
with open(RAMVOLD, "rb") as program:
    KEEPS_FREED = b"__asan_init" in program.read()


def request(command, offset, length):
    return struct.pack(">IHHQQI", REQUEST_MAGIC, 0, command, 1, offset, length)


def hello():
    """All that a client says until it may send requests."""
    data = info_request("v")
    return (
        struct.pack(">I", FIXED_NEWSTYLE | NO_ZEROES)
        + OPTION_MAGIC
        + struct.pack(">II", OPT_GO, len(data))
        + data
    )


def receive(wire, count):
    data = b""
    while len(data) < count:
        part = wire.recv(count - len(data))
        if not part:
            raise Closed
        data += part
    return data


class Honest:
    """Writes and reads over one connection."""

    def __init__(self, port):
        self.wire = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.wire.sendall(hello())
        receive(self.wire, 18)
        kind = None
        while kind != REP_ACK:
            kind, length = struct.unpack(">II", receive(self.wire, 20)[12:])
            receive(self.wire, length)
        self.slowest = 0
        self.over = threading.Event()
        self.failures = []
        self.thread = threading.Thread(target=self.go_on)

    def go_on(self):
        try:
            while not self.over.is_set():
                for length in (4 * KIB, 256 * KIB, MIB):
                    self.read(length)
        except (OSError, Closed) as error:
            self.failures.append(error)

    def write(self, offset, data):
        self.wire.sendall(request(CMD_WRITE, offset, len(data)) + data)
        receive(self.wire, 16)

    def read(self, length):
        begin = time.monotonic()
        self.wire.sendall(request(CMD_READ, 0, length))
        receive(self.wire, 16 + length)
        self.slowest = max(self.slowest, time.monotonic() - begin)


class Program:
    """With port 0 everywhere."""

    def __init__(self, *command):
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [*command, "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self.ready = self.process.stdout.readline()

    def port(self, what):
        return int(re.search(what + r"[^;\s]*127.0.0.1:(\d+)", self.ready).group(1))

    def metric(self, name):
        url = f"http://127.0.0.1:{self.port('http://')}/metrics"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return float(re.search(rf"\n{name} (\S+)", answer.read().decode()).group(1))

    def log_text(self):
        # The program writes where this descriptor stands.
        return os.pread(self.log.fileno(), 1 << 24, 0).decode()

    def resident(self):
        """The most ever."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1)) * KIB

    def queued(self):
        """What the kernel has for its NBD clients, and from them."""
        count = 0
        with open("/proc/net/tcp", encoding="ascii") as table:
            for line in table.read().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].split(":")[1], 16) == self.port("nbd "):
                    count += sum(int(bytes_, 16) for bytes_ in fields[4].split(":"))
        return count

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


class Case(unittest.TestCase):
    def start(self, *command):
        program = Program(*command)
        self.addCleanup(program.stop)
        return program

    def serve(self, *flags):
        server = self.start(
            RAMVOLD, "--nbd_listen=127.0.0.1:0", "--memory_limit=256M", *flags
        )
        subprocess.run(
            [
                RAMVOL,
                f"--server=127.0.0.1:{server.port('grpc ')}",
                "create",
                "v",
                str(VOLUME),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return server

    def fill(self, program):
        honest = Honest(program.port("nbd "))
        self.addCleanup(honest.wire.close)
        for offset in range(0, VOLUME, MIB):
            honest.write(offset, os.urandom(MIB))
        return honest

    def attack(self, program, clients, reads):
        """From so many machines that the places are not the bound."""
        data = hello() + request(CMD_READ, 0, 256 * KIB) * reads
        for i in range(clients):
            wire = socket.socket()
            self.addCleanup(wire.close)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
            wire.bind((f"127.0.0.{2 + i % 100}", 0))
            wire.connect(("127.0.0.1", program.port("nbd ")))
            wire.sendall(data)

    def run_against(self, program, clients, reads, copies):
        """Every byte that is held may be in so many places."""
        honest = self.fill(program)
        limit = program.metric("ramvol_client_memory_limit_bytes")
        resident = program.resident()
        self.attack(program, clients, reads)
        honest.thread.start()
        end = time.monotonic() + PATIENCE
        queued = used = 0
        while program.metric("ramvol_clients_sent_away_total") < 10:
            self.assertLess(time.monotonic(), end)
            queued = max(queued, program.queued())
            used = max(used, program.metric("ramvol_client_memory_used_bytes"))
            time.sleep(0.05)
        honest.over.set()
        honest.thread.join()
        # The log comes a little later than the count.
        told = r"client_sent_away client=127\.0\.0\.\d+:\d+ over=nbd reason=CLIENT_TOO_SLOW"
        while not re.search(told, program.log_text()):
            self.assertLess(time.monotonic(), end, program.log_text()[-2000:])
            time.sleep(0.05)
        self.assertEqual(honest.failures, [])
        grown = program.resident() - resident
        print(
            f"{self.id().split('.')[-1]}: resident {grown / MIB:.0f} MiB more, "
            f"{queued / MIB:.0f} MiB in the kernel, {used / MIB:.0f} of "
            f"{limit / MIB:.0f} MiB counted; the honest client's slowest read "
            f"{honest.slowest:.1f} s",
            flush=True,
        )
        self.assertLessEqual(used, limit * 1.02)
        if not KEEPS_FREED:
            self.assertLess(grown + queued, limit * copies + 32 * MIB)

    def test_unread_reads_of_ramvold(self):
        self.run_against(self.serve(), clients=458, reads=1, copies=1)

    def test_many_unread_reads_of_ramvold(self):
        self.run_against(self.serve(), clients=458, reads=16, copies=1)

    def test_many_unread_reads_of_ramvol_nbd(self):
        """Where gRPC has what comes from the server, too."""
        server = self.serve("--client_memory=320M")  # For 730 streams.
        bridge = self.start(
            BRIDGE, f"--server=127.0.0.1:{server.port('grpc ')}", "--client_memory=128M"
        )
        self.run_against(bridge, clients=365, reads=16, copies=2)


if __name__ == "__main__":
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, 8192), files))
    side_by_side.main(ARGUMENTS)
