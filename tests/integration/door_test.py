#!/usr/bin/python3
"""Strangers at the doors of ramvold, while an honest client goes on with its
work. Arguments: the path of ramvold, maybe "tls", and unittest's. With "tls", all
of it goes over TLS. Every attack is bounded; each prints what it cost. None of them
needs more than 127.0.0.2 to come from."""

import contextlib
import os
import re
import resource
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

import grpc

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from h2_wire import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    INDEXED,
    PING,
    PREFACE,
    PRIORITY,
    SETTINGS,
    UPDATE,
    connect,
    field,
    frame,
    headers,
    is_closed,
    number,
    reset,
    send_until_closed,
    text,
)
from tls_files import Authority, read

RAMVOLD = os.path.realpath(sys.argv.pop(1))
TLS = None  # Or whose certificates all have.
if sys.argv[1:2] == ["tls"]:
    sys.argv.pop(1)
    TLS = Authority(tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR")))
    TLS.sign("server")
    TLS.sign("client", "honest")
SCHEME = "https" if TLS else "http"
STRANGER = "127.0.0.2"
PATIENCE = 120  # Seconds; for a busy machine, not what is normal.
MIB = 1 << 20
# ASan keeps what is freed, so memory says nothing.
with open(RAMVOLD, "rb") as program:
    KEEPS_FREED = b"__asan_init" in program.read()


def raw(value):
    return value


def dial(address, options=None):
    """A channel of someone whom the server knows, over a connection of its own."""
    # Otherwise gRPC gives two channels to one address the same connection.
    options = [*(options or ()), ("grpc.use_local_subchannel_pool", 1)]
    if not TLS:
        return grpc.insecure_channel(address, options)
    files = ("ca-cert.pem", "client-key.pem", "client-cert.pem")
    credentials = grpc.ssl_channel_credentials(*(read(TLS.path(f)) for f in files))
    return grpc.secure_channel(address, credentials, options)


def list_volumes(channel):
    return channel.unary_unary(
        "/ramvol.v1.VolumeService/ListVolumes",
        request_serializer=raw,
        response_deserializer=raw,
    )


class Server:
    """ramvold, with so many descriptors."""

    def __init__(self, *flags, files=4096):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        self.process = subprocess.Popen(
            [
                RAMVOLD,
                "--listen=127.0.0.1:0",
                "--metrics_listen=127.0.0.1:0",
                "--nbd_listen=127.0.0.1:0",
                "--memory_limit=64M",
                *(self.tls_flags() if TLS else ()),
                *flags,
            ],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=limit,
        )
        ready = self.process.stdout.readline()
        self.grpc, self.nbd, self.http = (
            int(re.search(what + r"[^;\s]*127.0.0.1:(\d+)", ready).group(1))
            for what in ("grpc ", "nbd ", f"{SCHEME}://")
        )

    @staticmethod
    def tls_flags():
        return (
            f"--tls_cert={TLS.path('server-cert.pem')}",
            f"--tls_key={TLS.path('server-key.pem')}",
            f"--tls_client_ca={TLS.path('ca-cert.pem')}",
        )

    def resident(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1)) * 1024

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(") ")[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def get(self, path):
        url = f"{SCHEME}://127.0.0.1:{self.http}{path}"
        context = TLS.context() if TLS else None
        with urllib.request.urlopen(url, timeout=PATIENCE, context=context) as answer:
            return answer.read().decode()

    def turned_away(self, protocol, *reasons):
        page = self.get("/metrics")
        name = f'ramvol_connections_turned_away_total{{protocol="{protocol}",cause='
        return sum(
            float(page.split(f'{name}"{reason}"}} ')[1].split()[0])
            for reason in reasons
        )

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


class Case(unittest.TestCase):
    FILES = 4096
    FLAGS = []
    PROBES_MAY_FAIL = False  # And then are made again.

    def setUp(self):
        self.server = Server(*self.FLAGS, files=self.FILES)
        self.addCleanup(self.server.stop)
        self.channel = dial(f"127.0.0.1:{self.server.grpc}")
        self.addCleanup(self.channel.close)
        self.work()
        self.slowest = 0
        self.before = (self.server.resident(), self.server.cpu())
        self.over = threading.Event()
        self.failures = []
        self.honest = threading.Thread(target=self.go_on)
        self.honest.start()

    def work(self):
        """A call over the old connection, one over a new one, a probe, NBD."""
        list_volumes(self.channel)(b"", timeout=PATIENCE)
        options = [("grpc.use_local_subchannel_pool", 1)]
        address = f"127.0.0.1:{self.server.grpc}"
        with dial(address, options) as channel:
            list_volumes(channel)(b"", timeout=PATIENCE, wait_for_ready=True)
        self.probe()
        with socket.create_connection(
            ("127.0.0.1", self.server.nbd), timeout=PATIENCE
        ) as nbd:
            assert nbd.recv(8) == b"NBDMAGIC"

    def probe(self):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return self.server.get("/healthz")
            except OSError:
                if not self.PROBES_MAY_FAIL or time.monotonic() > end:
                    raise

    def go_on(self):
        try:
            while not self.over.is_set():
                begin = time.monotonic()
                self.work()
                self.slowest = max(self.slowest, time.monotonic() - begin)
                self.over.wait(0.02)
        except Exception as error:  # pylint: disable=broad-except
            self.failures.append(error)

    def finish(self):
        self.over.set()
        self.honest.join()
        self.assertEqual(self.failures, [])
        self.work()

    def tearDown(self):
        self.over.set()
        self.honest.join()
        resident, cpu = self.before
        print(
            f"{self.id().split('.')[-1]}: "
            f"{(self.server.resident() - resident) / MIB:.0f} MiB, "
            f"{self.server.cpu() - cpu:.2f} s of CPU, the honest client's "
            f"slowest round {self.slowest * 1000:.0f} ms",
            flush=True,
        )

    def wire(self, *arguments, source=STRANGER, **how):
        """Of someone who was let in."""
        how.setdefault("tls", TLS and TLS.context("client", "h2"))
        wire = connect(self.server.grpc, source, *arguments, **how)
        self.addCleanup(wire.close)
        return wire

    def idle(self, port, count, hello=b"", tls=None):
        for _ in range(count):
            try:
                wire = connect(port, STRANGER, hello=b"", tls=tls)
            except OSError:
                continue  # The handshake was cut off.
            self.addCleanup(wire.close)
            send_until_closed(wire, hello)

    def wait_for(self, what):
        end = time.monotonic() + PATIENCE
        while not what():
            self.assertLess(time.monotonic(), end, "this never happens")
            time.sleep(0.05)

    def assert_turned_away(self, protocol, reason, at_least):
        """In the end: what the strangers sent may still be under way. `reason` may
        be several, with "|" between them. Returns the count."""
        end = time.monotonic() + PATIENCE
        while True:
            count = self.server.turned_away(protocol, *reason.split("|"))
            if count >= at_least:
                return count
            self.assertLess(time.monotonic(), end, f"{count} of {at_least}: {reason}")
            time.sleep(0.05)

    def assert_grew_less(self, limit):
        if not KEEPS_FREED:
            self.assertLess(self.server.resident() - self.before[0], limit)


class Floods(Case):
    """Each ends the connection, and no other."""

    def attack(self, data, reason, limit=64 * MIB):
        wire = self.wire()
        send_until_closed(wire, data)
        self.assertTrue(is_closed(wire))
        self.assertEqual(self.assert_turned_away("grpc", reason, 1), 1)
        self.finish()
        self.assert_grew_less(limit)

    def test_rapid_reset(self):
        self.attack(
            b"".join(headers(i) + reset(i) for i in range(1, 200000, 2)), "resets"
        )

    def test_rapid_resets_over_many_connections(self):
        """Each within its own bound, together not."""
        begin = time.monotonic()
        wires = [self.wire() for _ in range(100)]
        data = b"".join(headers(i) + reset(i) for i in range(1, 1900, 2))
        for wire in wires:
            send_until_closed(wire, data)
        self.finish()
        # The bound on all lets those of a wire pass every two seconds.
        seconds = time.monotonic() - begin
        self.assert_turned_away("grpc", "resets", max(1, 90 - seconds / 2))
        self.assert_grew_less(160 * MIB)

    def test_resets_that_the_server_makes(self):
        """An update by nothing is an error of its stream (CVE-2025-8671)."""
        nothing = struct.pack(">I", 0)
        wire = self.wire()
        data = b"".join(
            headers(i) + frame(UPDATE, 0, i, nothing) for i in range(1, 40000, 2)
        )
        send_until_closed(wire, data)
        self.assertTrue(is_closed(wire))
        self.finish()
        self.assert_grew_less(64 * MIB)

    def test_open_calls(self):
        """Nobody ever sends their messages."""
        data = b"".join(headers(i) for i in range(1, 2 * 2000, 2))
        for _ in range(10):
            send_until_closed(self.wire(), data)
        self.assert_turned_away("grpc", "streams", 1)
        self.finish()
        self.assert_grew_less(160 * MIB)

    def test_continuation(self):
        more = frame(CONTINUATION, 0, 1, b"\x00" + text("a") + text("b" * 100))
        self.attack(headers(1, flags=0) + more * 100000, "headers")

    def test_long_continuation(self):
        more = frame(CONTINUATION, 0, 1, (b"\x00" + text("a") + text("b" * 100)) * 150)
        self.attack(headers(1, flags=0) + more * 1000, "headers")

    def test_ping(self):
        self.attack(frame(PING, 0, 0, bytes(8)) * 200000, "control")

    def test_settings(self):
        self.attack(frame(SETTINGS) * 200000, "control")

    def test_empty_data(self):
        self.attack(headers(1) + frame(DATA, 0, 1) * 200000, "control")

    def test_priority(self):
        self.attack(frame(PRIORITY, 0, 1, bytes(5)) * 200000, "control")

    def test_slow_headers(self):
        """They end by themselves."""
        wires = [self.wire() for _ in range(20)]
        for i, wire in enumerate(wires):
            wire.sendall(headers(1, flags=0)[: -5 if i % 2 else None])
        for wire in wires:
            self.assertTrue(is_closed(wire))
        count = self.assert_turned_away("grpc", "headers", len(wires))
        self.assertEqual(count, len(wires))
        self.finish()


class Headers(Case):
    """What HPACK lets few bytes do (CVE-2023-33953, CVE-2023-1428)."""

    # gRPC takes 16 MiB of headers from who has not acknowledged its settings.
    FIRST = headers(1, more=field("a", "", indexed=True)) + frame(DATA, 1, 1, bytes(5))
    IO = "/ramvol.v1.BlockService/Io"
    # Half of the client memory is for calls, and a peer may take half of the rest.
    MOST = 96 * MIB
    CLIENT_MEMORY = 160 * MIB

    def play(self, data, reason=None, at_least=40, most=MOST):
        """What it takes is bounded, whether connections end or not. So many of the
        40 are turned away for `reason`."""
        wires = [self.wire() for _ in range(40)]
        for wire in wires:
            send_until_closed(wire, data)
        if reason:
            self.assert_turned_away("grpc", reason, at_least)
        self.finish()
        self.assert_grew_less(most)
        return wires

    def test_a_byte_for_each_field(self):
        """60,000 fields in each of 100 calls once took 954 MiB."""
        calls = self.FIRST + b"".join(
            headers(i, path=self.IO, more=INDEXED * 60000) for i in range(3, 203, 2)
        )
        self.play(calls, "headers")

    def test_as_many_fields_as_pass(self):
        calls = self.FIRST + b"".join(
            headers(i, path=self.IO, more=INDEXED * 1000) for i in range(3, 203, 2)
        )
        self.play(calls, "streams", 20)

    def test_resets_of_many_fields(self):
        """With 1,000 fields in each, resets once took 942 MiB."""
        calls = self.FIRST + b"".join(
            headers(i, path=self.IO, more=INDEXED * 1000) + reset(i)
            for i in range(3, 2003, 2)
        )
        begin = time.monotonic()
        # What resets hold goes once the server has a processor.
        self.play(calls, most=self.CLIENT_MEMORY)
        # Each weighs as much as nine. The bound on all lets those of a wire pass
        # every 18 seconds.
        seconds = time.monotonic() - begin
        self.assert_turned_away("grpc", "resets", max(1, 39 - seconds / 18))

    def test_long_values(self):
        calls = b"".join(
            headers(i, path=self.IO, more=field("a", "b" * 60000))
            for i in range(1, 201, 2)
        )
        self.play(calls)

    def test_trailers(self):
        calls = self.FIRST + b"".join(
            headers(i, path=self.IO) + frame(1, END_HEADERS | 1, i, INDEXED * 1000)
            for i in range(3, 203, 2)
        )
        self.play(calls)

    def test_a_large_entry_of_the_table(self):
        """4 KB for each byte of 60,000: 240 MB in a call."""
        calls = headers(1, more=field("a", "b" * 4000, indexed=True)) + b"".join(
            headers(i, more=INDEXED * 1000) for i in range(3, 203, 2)
        )
        self.play(calls)

    def test_a_string_of_4_gib(self):
        start = headers(1, flags=0, more=b"\x00" + text("a") + number(2**32 - 1))
        more = frame(CONTINUATION, 0, 1, bytes(16384))
        wires = self.play(start + more * 100)
        self.assertTrue(all(is_closed(wire) for wire in wires))

    def test_a_number_without_an_end(self):
        more = b"\x00" + text("a") + b"\x7f" + b"\x80" * 60000
        wires = self.play(headers(1, more=more))
        self.assertTrue(all(is_closed(wire) for wire in wires))

    def test_padding_that_grpc_takes_for_fields(self):
        padded = frame(1, END_HEADERS | 8, 1, b"\xff" + INDEXED * 300)
        wires = self.play(padded)
        self.assertTrue(all(is_closed(wire) for wire in wires))

    def test_what_once_aborted_grpc(self):
        long = field("a", "b" * 9000)
        for bad in (("te", "x"), (":scheme", "x"), ("grpclb_client_stats", "x")):
            for more in (field(*bad) + long, long + field(*bad)):
                # One that has acknowledged the settings, and so the limit of 8 KiB.
                wire = self.wire()
                wire.recv(1000)
                wire.sendall(frame(SETTINGS, 1))
                for known in (b"", frame(SETTINGS, 1)):
                    send_until_closed(self.wire(), known + headers(1, more=more))
                send_until_closed(wire, headers(1, more=more))
        self.finish()

    def test_headers_that_are_too_long_end_no_other_client(self):
        """Their connection may end: both sides may see another table afterwards
        (CVE-2023-32731)."""
        call = list_volumes(self.channel)
        for length in (5000, 9000, 20000, 60000, 70000):
            try:
                call(b"", metadata=[("a", "b" * length)], timeout=PATIENCE)
            except grpc.RpcError as error:
                self.assertIn(
                    error.code(),
                    (
                        grpc.StatusCode.RESOURCE_EXHAUSTED,
                        grpc.StatusCode.UNAVAILABLE,
                    ),
                )
                self.assertGreater(length, 5000)
            else:
                self.assertEqual(length, 5000)
            other = dial(f"127.0.0.1:{self.server.grpc}")
            list_volumes(other)(b"", timeout=PATIENCE)
            other.close()


class Honest(Case):
    def test_cancels_many_calls(self):
        """All that one connection may have under way, twice at once."""
        call = self.channel.stream_stream(
            "/ramvol.v1.BlockService/Io",
            request_serializer=raw,
            response_deserializer=raw,
        )
        for _ in range(2):
            hold = threading.Event()

            def requests(hold=hold):
                hold.wait()
                yield b""

            calls = [call(requests()) for _ in range(200)]
            for one in calls:
                one.cancel()
            hold.set()
        self.finish()
        self.assertEqual(self.server.turned_away("grpc", "resets"), 0)

    def test_gate_sees_what_grpc_reads(self):
        """Should gRPC read by other means one day, this fails."""
        wire = self.wire()
        send_until_closed(wire, frame(SETTINGS) * 5000)
        self.assertTrue(is_closed(wire))
        self.assertEqual(self.assert_turned_away("grpc", "control", 1), 1)
        self.finish()


class Streams(Case):
    FLAGS = ["--client_memory=640M"]

    def test_io_streams_are_shared(self):
        """41 connections with 100 streams each once took all 4096."""
        one = b"".join(
            headers(i, path="/ramvol.v1.BlockService/Io") for i in range(1, 201, 2)
        )
        for _ in range(41):
            self.wire().sendall(one)
        name = "\nramvol_io_streams "

        def all_came():
            """Or were refused."""
            return (
                sum(
                    float(line.split()[-1])
                    for line in self.server.get("/metrics").splitlines()
                    if line.startswith("grpc_server_started_total")
                    and 'grpc_method="Io"' in line
                )
                >= 4100
            )

        self.wait_for(all_came)
        streams = float(self.server.get("/metrics").split(name)[1].split()[0])
        self.assertLessEqual(streams, 2048)
        self.assertGreater(streams, 1000)
        call = self.channel.stream_stream(
            "/ramvol.v1.BlockService/Io",
            request_serializer=raw,
            response_deserializer=raw,
        )
        with self.assertRaises(grpc.RpcError) as caught:
            next(call(iter([b""])))  # It names no volume.
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.finish()


class FewFiles(Case):
    FILES = 128

    def test_idle_connections(self):
        self.idle(self.server.grpc, 300)
        self.assert_turned_away("grpc", "slow_start", 100)
        self.finish()

    def test_idle_connections_behind_the_preface(self):
        tls = TLS and TLS.context("client", "h2")
        self.idle(self.server.grpc, 300, PREFACE + frame(SETTINGS), tls)
        # Between a handshake and the preface, others may have needed the room.
        reason = "peer_share|slow_start" if TLS else "peer_share"
        self.assert_turned_away("grpc", reason, 100)
        self.finish()

    def test_idle_nbd_connections(self):
        self.idle(self.server.nbd, 300)
        self.assert_turned_away("nbd", "peer_share", 100)
        self.finish()

    def test_idle_http_connections(self):
        self.idle(self.server.http, 300)
        head = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"
        self.idle(self.server.http, 100, head, TLS and TLS.context())
        self.assert_turned_away("http", "slow_start", 100)
        self.finish()

    def test_unread_http_answers(self):
        head = b"GET /metrics HTTP/1.1\r\n\r\n"
        self.idle(self.server.http, 100, head, TLS and TLS.context())
        self.finish()

    def test_from_the_same_machine(self):
        """Who has not said what he wants goes before who has. A probe may be one
        of those, when this process opens others before it has sent its request.
        """
        self.PROBES_MAY_FAIL = True
        for port in (self.server.grpc, self.server.http):
            for _ in range(300):
                wire = connect(port, "127.0.0.1", hello=b"")
                self.addCleanup(wire.close)
        self.finish()

    def test_connects_and_closes(self):
        for port, hello in (
            (self.server.grpc, b""),
            (self.server.nbd, b""),
            (self.server.grpc, PREFACE + frame(SETTINGS)),
            (self.server.http, b"GET /"),
        ):
            for _ in range(2000):
                wire = connect(port, STRANGER, hello=b"")
                send_until_closed(wire, hello)
                wire.close()
        self.finish()

    def test_other_protocols(self):
        for hello in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", bytes(100)):
            self.assertTrue(is_closed(self.wire(hello=hello, tls=None)))
        expected = {"tls": 2, "slow_start": 1} if TLS else {"bad_start": 3}
        for reason, count in expected.items():
            self.assertEqual(self.assert_turned_away("grpc", reason, count), count)
        self.finish()


def client_hello():
    """The first message of a good handshake."""
    out = ssl.MemoryBIO()
    tls = TLS.context("client", "h2").wrap_bio(
        ssl.MemoryBIO(), out, server_hostname="localhost"
    )
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


@unittest.skipUnless(TLS, "these strangers break off TLS's handshake")
class Handshakes(Case):
    def test_never_finished(self):
        """Half of the first message, all of it, and a silent one."""
        hello = client_hello()
        for port in (self.server.grpc, self.server.http):
            for part in (hello[: len(hello) // 2], hello, b""):
                self.idle(port, 300, part)
        for door in ("grpc", "http"):
            self.assert_turned_away(door, "slow_start", 300)
        self.finish()
        self.assert_grew_less(32 * MIB)

    def test_flood_of_first_messages(self):
        """Each costs the server a signature."""
        hello = client_hello()
        for _ in range(3000):
            wire = connect(self.server.grpc, STRANGER, hello=hello)
            wire.close()
        self.finish()
        self.assert_grew_less(32 * MIB)

    def test_without_a_certificate(self):
        """Nothing of gRPC is there for them."""
        for _ in range(200):
            try:
                wire = self.wire(tls=TLS.context(protocol="h2"))
            except OSError:
                continue
            self.assertTrue(is_closed(wire))
        self.assertEqual(self.assert_turned_away("grpc", "tls", 200), 200)
        self.finish()
        self.assert_grew_less(16 * MIB)

    def test_without_a_protocol(self):
        with self.assertRaises(OSError):
            wire = self.wire(tls=TLS.context("client", "http/1.1"))
            wire.recv(1)
        self.assertEqual(self.assert_turned_away("grpc", "tls", 1), 1)
        self.finish()

    def test_garbage_after_the_handshake(self):
        for _ in range(200):
            wire = self.wire()
            os.write(wire.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
            self.assertTrue(is_closed(wire))
        self.finish()
        self.assert_grew_less(64 * MIB)

    def test_nbd_never_goes_on(self):
        start = b"\x00\x00\x00\x03IHAVEOPT" + struct.pack(">II", 5, 0)
        hello = client_hello()
        for part in (start, start + hello[:100], start + hello):
            self.idle(self.server.nbd, 100, part)
        self.finish()
        self.assert_grew_less(64 * MIB)


class Readiness(Case):
    FILES = 256
    FLAGS = ["--nbd_max_connections=16"]

    def readyz(self):
        """Why not; "" is ready."""
        try:
            return self.server.get("/readyz").removesuffix("ok\n")
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()

    def crowd(self, port, hello, inside, tls):
        """From so many machines that none has more than its share. So many of them
        are inside for certain; others come until nobody is accepted."""
        wires = []

        def come(patience):
            source = f"127.0.0.{2 + len(wires)}"
            wires.append(connect(port, source, hello, tls, patience=patience))
            self.addCleanup(wires[-1].close)

        while len(wires) < inside:
            come(PATIENCE)
            self.assertTrue(wires[-1].recv(1))

        def is_full():
            # The handshake is cut off, or waits, when the places are taken.
            with contextlib.suppress(OSError):
                come(5)
            return self.readyz()

        self.wait_for(is_full)
        return wires

    def test_tells_when_nobody_is_accepted(self):
        self.finish()
        self.wait_for(lambda: self.readyz() == "")
        preface = PREFACE + frame(SETTINGS)
        tls = TLS and TLS.context("client", "h2")
        for port, hello, inside, context, reason in (
            (self.server.nbd, b"", 10, None, "NBD accepts nobody: all 16 connections"),
            (
                self.server.grpc,
                preface,
                120,
                tls,
                "gRPC accepts nobody: all 128 connections",
            ),
        ):
            wires = self.crowd(port, hello, inside, context)
            self.wait_for(lambda reason=reason: reason in self.readyz())
            for wire in wires:
                wire.close()
            self.wait_for(lambda: self.readyz() == "")


if __name__ == "__main__":
    unittest.main()
