#!/usr/bin/python3
"""TLS from end to end: gRPC, NBD and metrics, with other people's clients.
Arguments: the paths of ramvold, ramvol and ramvol-nbd, and unittest's."""

import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

import grpc
import nbd

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nbd_wire import (
    OPT_ABORT,
    OPT_EXPORT_NAME,
    OPT_EXTENDED_HEADERS,
    OPT_GO,
    OPT_INFO,
    OPT_LIST,
    OPT_LIST_META_CONTEXT,
    OPT_SET_META_CONTEXT,
    OPT_STARTTLS,
    OPT_STRUCTURED_REPLY,
    OPTION_MAGIC,
    REP_ACK,
    REP_ERR_INVALID,
    REP_ERR_TLS_REQD,
    REP_ERR_UNSUP,
    Closed,
    Wire,
    context_request,
    info_request,
)
from programs import PATIENCE, Program, run
from tls_files import Authority, make_keys, read

RAMVOLD, RAMVOL, BRIDGE = (os.path.realpath(sys.argv.pop(1)) for _ in range(3))
MIB = 1 << 20
FOLDER = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
CA = Authority(os.path.join(FOLDER, "ca"))
CA.sign("server")
CA.sign("client", "alice", "URI:spiffe://test/alice,DNS:alice.example")
OTHER = Authority(os.path.join(FOLDER, "other"))
OTHER.sign("client", "alice", "URI:spiffe://test/alice")
KEYS = make_keys(os.path.join(FOLDER, "keys.psk"), "alice", "bob")
WRONG_KEYS = make_keys(os.path.join(FOLDER, "wrong.psk"), "alice")


def server_flags(folder=CA.folder):
    return (
        f"--tls_cert={folder}/server-cert.pem",
        f"--tls_key={folder}/server-key.pem",
    )


def serve(*flags):
    return Program(
        RAMVOLD,
        "--listen=127.0.0.1:0,unix:SOCKETS/grpc",
        "--metrics_listen=127.0.0.1:0",
        "--nbd_listen=127.0.0.1:0,unix:SOCKETS/nbd",
        "--memory_limit=256M",
        *flags,
    )


def raw(value):
    return value


class Case(unittest.TestCase):
    FLAGS = ()

    @classmethod
    def setUpClass(cls):
        cls.server = serve(*cls.FLAGS)
        # c-ares leaks a look-up that is under way when a program ends.
        cls.address = f"127.0.0.1:{cls.server.port('grpc')}"

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def ramvol(self, *words, server=None, **how):
        flags = [f"--server={server or 'unix:' + self.server.socket('grpc')}"]
        return run(RAMVOL, *flags, *words, **how)

    def volume(self, name, size="64M"):
        self.ramvol("create", name, size)
        self.addCleanup(self.ramvol, "rm", "--force", name)

    def channel(self, client="client", ca=CA):
        names = (f"{client}-key.pem", f"{client}-cert.pem") if client else ()
        credentials = grpc.ssl_channel_credentials(
            read(CA.path("ca-cert.pem")), *(read(ca.path(name)) for name in names)
        )
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.secure_channel(self.address, credentials, options)
        self.addCleanup(channel.close)
        return channel

    @staticmethod
    def ask(channel, timeout=PATIENCE):
        return channel.unary_unary(
            "/ramvol.v1.VolumeService/ListVolumes",
            request_serializer=raw,
            response_deserializer=raw,
        )(b"", timeout=timeout, wait_for_ready=True)

    def cli_flags(self):
        return (
            f"--tls-ca={CA.path('ca-cert.pem')}",
            f"--tls-cert={CA.path('client-cert.pem')}",
            f"--tls-key={CA.path('client-key.pem')}",
        )


class MutualTls(Case):
    """gRPC, whose clients must have certificates."""

    FLAGS = (*server_flags(), f"--tls_client_ca={CA.path('ca-cert.pem')}")

    def test_grpcio(self):
        self.ask(self.channel())

    def assert_refused(self, channel):
        with self.assertRaises(grpc.RpcError) as caught:
            channel.unary_unary(
                "/ramvol.v1.VolumeService/ListVolumes",
                request_serializer=raw,
                response_deserializer=raw,
            )(b"", timeout=PATIENCE)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)

    def test_strangers_are_refused(self):
        self.assert_refused(self.channel(client=None))
        self.assert_refused(self.channel(ca=OTHER))
        with grpc.insecure_channel(self.address) as channel:
            self.assert_refused(channel)

    def test_unix_sockets_need_none(self):
        self.ramvol("ls")

    def test_command_line(self):
        flags = self.cli_flags()
        self.ramvol("create", "disk", "1G", *flags, server=self.address)
        data = os.urandom(3 * MIB)
        path = os.path.join(FOLDER, "data")
        with open(path, "wb") as file:
            file.write(data)
        self.ramvol("import", path, "disk", *flags, server=self.address)
        copy = os.path.join(FOLDER, "copy")
        self.ramvol("export", "disk", copy, *flags, server=self.address)
        self.assertEqual(read(copy)[: len(data)], data)
        environment = {
            "RAMVOL_SERVER": self.address,
            "RAMVOL_TLS_CA": CA.path("ca-cert.pem"),
            "RAMVOL_TLS_CERT": CA.path("client-cert.pem"),
            "RAMVOL_TLS_KEY": CA.path("client-key.pem"),
        }
        self.assertIn("disk", run(RAMVOL, "ls", env=environment))
        run(RAMVOL, "rm", "--force", "disk", env=environment)

    def test_command_line_says_what_is_missing(self):
        said = self.ramvol("ls", "--tls-cert=x", server=self.address, fails=True)
        self.assertIn("tls_cert and tls_key go together", said)
        said = self.ramvol("ls", "--token-file=x", server=self.address, fails=True)
        self.assertIn("needs TLS", said)
        said = self.ramvol("ls", "--tls-ca=/none", server=self.address, fails=True)
        self.assertIn("/none cannot be read", said)

    def test_metrics(self):
        """For whoever trusts the server: probes have no certificate."""
        url = f"https://localhost:{self.server.port('metrics')}/metrics"
        with urllib.request.urlopen(url, context=CA.context()) as answer:
            self.assertIn(b"ramvol_memory_limit_bytes", answer.read())
        with self.assertRaises(OSError):
            urllib.request.urlopen(url.replace("https", "http"))

    def test_bridge(self):
        """ramvol-nbd asks ramvold with a certificate, and shows one to others."""
        self.volume("far")
        bridge = Program(
            BRIDGE,
            f"--server={self.address}",
            "--listen=unix:SOCKETS/nbd",
            f"--tls_ca={CA.path('ca-cert.pem')}",
            f"--tls_cert={CA.path('client-cert.pem')}",
            f"--tls_key={CA.path('client-key.pem')}",
            f"--nbd_tls_psk={KEYS}",
        )
        self.addCleanup(bridge.stop)
        path = bridge.socket("nbd")
        uri = f"nbds+unix://alice@/far?socket={path}&tls-psk-file={KEYS}"
        self.assertIn("with TLS", run("nbdinfo", uri))
        handle = nbd.NBD()
        handle.set_uri_allow_local_file(True)
        handle.connect_uri(uri)
        data = os.urandom(MIB)
        handle.pwrite(data, MIB)
        self.assertEqual(handle.pread(MIB, MIB), data)
        handle.shutdown()
        run("nbdinfo", f"nbd+unix:///far?socket={path}", fails=True)


class Rotation(Case):
    """As a Secret of Kubernetes: links to a link that is replaced."""

    @classmethod
    def setUpClass(cls):
        cls.folder = os.path.join(FOLDER, "secret")
        os.mkdir(cls.folder)
        cls.count = 0
        cls.rotate("first")
        for name in ("server-cert.pem", "server-key.pem"):
            os.symlink(f"..data/{name}", os.path.join(cls.folder, name))
        cls.FLAGS = server_flags(cls.folder)
        super().setUpClass()

    @classmethod
    def rotate(cls, name, key=None):
        cls.count += 1
        version = os.path.join(cls.folder, f"..{cls.count}")
        os.mkdir(version)
        cert, fitting = CA.sign("rotated", name)
        shutil.copy(cert, os.path.join(version, "server-cert.pem"))
        shutil.copy(key or fitting, os.path.join(version, "server-key.pem"))
        link = os.path.join(cls.folder, "..data_tmp")
        os.symlink(f"..{cls.count}", link)
        os.rename(link, os.path.join(cls.folder, "..data"))

    def shown(self):
        address = ("localhost", self.server.port("metrics"))
        with socket.create_connection(address) as plain:
            with CA.context().wrap_socket(plain, server_hostname="localhost") as wire:
                return dict(part[0] for part in wire.getpeercert()["subject"])[
                    "commonName"
                ]

    def wait_until_shown(self, name):
        end = time.monotonic() + PATIENCE
        while self.shown() != name:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def test_under_load(self):
        """No call fails on old connections or new ones, and no read over NBD."""
        self.volume("busy")
        old, over, failures, calls = self.channel(), threading.Event(), [], [0]
        handle = nbd.NBD()
        handle.set_tls(nbd.TLS_REQUIRE)
        handle.set_tls_certificates(CA.folder)
        handle.set_export_name("busy")
        handle.connect_tcp("localhost", str(self.server.port("nbd")))

        def work():
            try:
                while not over.is_set():
                    self.ask(old)
                    new = self.channel()
                    self.ask(new)
                    new.close()
                    handle.pread(65536, 0)
                    calls[0] += 1
            except Exception as error:  # pylint: disable=broad-except
                failures.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        for name in ("second", "third", "fourth"):
            before = calls[0]
            self.rotate(name)
            self.wait_until_shown(name)
            while calls[0] <= before and not failures:
                time.sleep(0.01)
        over.set()
        worker.join()
        handle.shutdown()
        self.assertEqual(failures, [])

    def test_bad_ones_are_refused(self):
        self.rotate("good")
        self.wait_until_shown("good")
        other, key = CA.sign("unfitting")
        del other
        self.rotate("bad", key=key)
        self.server.wait_for_log("tls_refused")
        self.assertIn(b"stays in use", read(self.server.log))
        self.assertEqual(self.shown(), "good")
        self.rotate("better")
        self.wait_until_shown("better")


def start_tls(wire, context=None):
    """NBD_OPT_STARTTLS and the handshake, as alice or with another context."""
    wire.send_option(OPT_STARTTLS)
    assert wire.receive_option_reply(OPT_STARTTLS)[0] == REP_ACK
    context = context or CA.context("client")
    wire.socket = context.wrap_socket(wire.socket, server_hostname="localhost")


class NbdProtocol(Case):
    """What NBD's protocol says about NBD_OPT_STARTTLS."""

    FLAGS = (
        *server_flags(),
        f"--tls_client_ca={CA.path('ca-cert.pem')}",
        "--default_export=disk",
    )

    def setUp(self):
        self.volume("disk")

    def wire(self):
        wire = Wire(self.server.socket("nbd"))
        self.addCleanup(wire.close)
        return wire

    def ask_option(self, wire, option, data=b""):
        wire.send_option(option, data)
        while True:
            kind = wire.receive_option_reply(option)[0]
            if kind == REP_ACK or kind >> 31:
                return kind

    def test_nothing_is_visible_before(self):
        wire = self.wire()
        request = info_request("disk")
        for option, data in (
            (OPT_LIST, b""),
            (OPT_INFO, request),
            (OPT_INFO, info_request("none")),
            (OPT_GO, request),
            (OPT_STRUCTURED_REPLY, b""),
            (OPT_EXTENDED_HEADERS, b""),
            (OPT_LIST_META_CONTEXT, context_request("disk")),
            (OPT_SET_META_CONTEXT, context_request("disk", "base:allocation")),
            (99, b""),
        ):
            self.assertEqual(self.ask_option(wire, option, data), REP_ERR_TLS_REQD)
        wire.send_option(OPT_EXPORT_NAME, b"disk")
        self.assertTrue(wire.is_closed())
        wire = self.wire()
        self.assertEqual(self.ask_option(wire, OPT_ABORT), REP_ACK)

    def test_all_is_visible_after(self):
        wire = self.wire()
        start_tls(wire)
        self.assertEqual(self.ask_option(wire, OPT_LIST), REP_ACK)
        self.assertEqual(self.ask_option(wire, OPT_GO, info_request("disk")), REP_ACK)

    def test_once_and_without_data(self):
        wire = self.wire()
        self.assertEqual(self.ask_option(wire, OPT_STARTTLS, b"x"), REP_ERR_INVALID)
        start_tls(wire)
        self.assertEqual(self.ask_option(wire, OPT_STARTTLS), REP_ERR_INVALID)
        self.assertEqual(self.ask_option(wire, OPT_GO, info_request("disk")), REP_ACK)

    def test_plaintext_behind_the_option_is_not_taken(self):
        """CVE-2011-0411, CVE-2021-3712 and the like: it must not come to life
        inside."""
        injected = OPTION_MAGIC + struct.pack(">II", OPT_STRUCTURED_REPLY, 0)
        wire = self.wire()
        wire.send(OPTION_MAGIC + struct.pack(">II", OPT_STARTTLS, 0) + injected)
        self.assertEqual(wire.receive_option_reply(OPT_STARTTLS)[0], REP_ACK)
        with self.assertRaises((ssl.SSLError, OSError)):
            CA.context("client").wrap_socket(wire.socket, server_hostname="localhost")

    def test_without_a_certificate(self):
        """TLS 1.3's clients hear of it after their handshake."""
        stranger = CA.context()
        stranger.load_cert_chain(
            OTHER.path("client-cert.pem"), OTHER.path("client-key.pem")
        )
        for context in (CA.context(), stranger):
            wire = self.wire()
            with self.assertRaises((OSError, Closed)):
                start_tls(wire, context)
                wire.send_option(OPT_LIST)
                wire.receive_option_reply(OPT_LIST)


class NbdAllow(Case):
    FLAGS = (*server_flags(), "--nbd_tls=allow")

    def test_clients_choose(self):
        self.volume("disk")
        for tls in (False, True):
            with Wire(self.server.socket("nbd")) as wire:
                if tls:
                    start_tls(wire)
                wire.send_option(OPT_GO, info_request("disk"))
                while (kind := wire.receive_option_reply(OPT_GO)[0]) != REP_ACK:
                    self.assertFalse(kind >> 31)

    def test_what_came_before_is_forgotten(self):
        """Anyone on the way may have sent it."""
        self.volume("disk")
        request = context_request("disk", "base:allocation")
        with Wire(self.server.socket("nbd")) as wire:
            wire.send_option(OPT_STRUCTURED_REPLY)
            self.assertEqual(
                wire.receive_option_reply(OPT_STRUCTURED_REPLY)[0], REP_ACK
            )
            start_tls(wire)
            wire.send_option(OPT_SET_META_CONTEXT, request)
            kind = wire.receive_option_reply(OPT_SET_META_CONTEXT)[0]
            self.assertEqual(kind, REP_ERR_INVALID)


class NbdOff(Case):
    def test_is_unknown(self):
        with Wire(self.server.socket("nbd")) as wire:
            wire.send_option(OPT_STARTTLS)
            self.assertEqual(wire.receive_option_reply(OPT_STARTTLS)[0], REP_ERR_UNSUP)


class NbdClients(Case):
    """libnbd's and QEMU's tools, with certificates and with keys."""

    FLAGS = (
        *server_flags(),
        f"--tls_client_ca={CA.path('ca-cert.pem')}",
        f"--nbd_tls_psk={KEYS}",
    )

    def uris(self, volume):
        port, path = self.server.port("nbd"), self.server.socket("nbd")
        return (
            f"nbds://localhost:{port}/{volume}?tls-certificates={CA.folder}",
            f"nbds+unix://alice@/{volume}?socket={path}&tls-psk-file={KEYS}",
            f"nbds+unix://bob@/{volume}?socket={path}&tls-psk-file={KEYS}",
        )

    def image(self):
        path = os.path.join(FOLDER, "image")
        with open(path, "wb") as file:
            file.write(os.urandom(5 * MIB))
            file.truncate(40 * MIB)
            file.seek(30 * MIB)
            file.write(os.urandom(3 * MIB + 4096))
        return path

    def test_libnbd_tools(self):
        image = self.image()
        copy = os.path.join(FOLDER, "copy.img")
        for i, uri in enumerate(self.uris("disk")):
            self.ramvol("create", "disk", "40M")
            said = run("nbdinfo", uri)
            self.assertIn("with TLS, using structured packets", said)
            self.assertIn("disk", run("nbdinfo", "--list", uri))
            run("nbdcopy", image, uri)
            run("nbdcopy", uri, copy)
            self.assertEqual(read(copy), read(image), i)
            self.ramvol("rm", "--force", "disk")

    def test_qemu_tools(self):
        self.volume("disk", "40M")
        image, port = self.image(), self.server.port("nbd")
        keys = os.path.join(FOLDER, "qemu")
        os.mkdir(keys)
        shutil.copy(KEYS, os.path.join(keys, "keys.psk"))
        certificates = f"tls-creds-x509,id=t,endpoint=client,dir={CA.folder}"
        shared = f"tls-creds-psk,id=t,endpoint=client,dir={keys},username=alice"
        server = f"server.type=inet,server.host=localhost,server.port={port}"
        disk = f"driver=nbd,{server},export=disk,tls-creds=t"
        for secret in (certificates, shared):
            run(
                *("qemu-img", "convert", "--object", secret, "-n", "-f", "raw", image),
                *("--target-image-opts", disk),
            )
            said = run(
                *("qemu-img", "compare", "--object", secret, "--image-opts"),
                *(disk, f"driver=file,filename={image}"),
            )
            self.assertIn("identical", said)

    def test_libnbd_for_python(self):
        self.volume("disk", "40M")
        for uri in self.uris("disk"):
            handle = nbd.NBD()
            handle.set_tls(nbd.TLS_REQUIRE)
            handle.set_uri_allow_local_file(True)
            handle.connect_uri(uri)
            self.assertTrue(handle.get_tls_negotiated())
            # More at a time than the sockets hold.
            data = os.urandom(2 * MIB + 5)
            cookies = [
                handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), i)
                for i in (0, 8 * MIB, 16 * MIB)
            ]
            for cookie in cookies:
                while not handle.aio_command_completed(cookie):
                    handle.poll(-1)
            for offset in (0, 8 * MIB, 16 * MIB):
                self.assertEqual(handle.pread(len(data), offset), data)
            handle.shutdown()

    def test_wrong_keys(self):
        path = self.server.socket("nbd")
        for user, keys in (("alice", WRONG_KEYS), ("carol", KEYS)):
            uri = f"nbds+unix://{user}@/disk?socket={path}&tls-psk-file={keys}"
            run("nbdinfo", uri, fails=True)


class Exposure(unittest.TestCase):
    """Without TLS, ramvold listens only where others do not come."""

    def refused(self, program, *flags):
        done = subprocess.run(
            [program, *flags],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 1, done.stderr)
        return done.stderr

    def test_is_refused(self):
        off = "--metrics_listen="
        own = "--listen=127.0.0.1:0"
        for program, words, flags in (
            (RAMVOLD, "--tls_cert", ("--listen=0.0.0.0:0", off)),
            (RAMVOLD, "--tls_cert", ("--listen=[::]:0", off)),
            (RAMVOLD, "--tls_cert", (own, "--metrics_listen=0.0.0.0:0")),
            (RAMVOLD, "--nbd_tls=require", (own, off, "--nbd_listen=0.0.0.0:0")),
            (BRIDGE, "--nbd_tls=require", ("--listen=0.0.0.0:0",)),
            (BRIDGE, "--tls_cert", (own, "--metrics_listen=0.0.0.0:0")),
        ):
            said = self.refused(program, *flags)
            self.assertIn("could use it without TLS", said)
            self.assertIn(words, said)
            self.assertIn("--insecure", said)

    def test_plain_nbd_beside_tls_is_refused(self):
        said = self.refused(
            RAMVOLD,
            *server_flags(),
            "--listen=127.0.0.1:0",
            "--metrics_listen=",
            "--nbd_listen=0.0.0.0:0",
            "--nbd_tls=allow",
        )
        self.assertIn("could use it without TLS", said)

    def test_flags_that_do_not_fit(self):
        cert, key = server_flags()
        for words, flags in (
            ("go together", (cert,)),
            ("go together", (key,)),
            ("needs a certificate", (f"--tls_client_ca={CA.path('ca-cert.pem')}",)),
            ("require or optional", (cert, key, "--tls_client_auth=maybe")),
            ("off, allow or require", (cert, key, "--nbd_tls=maybe")),
            ("wants TLS", ("--nbd_tls=require",)),
            ("No such file", ("--tls_cert=/none", "--tls_key=/none")),
        ):
            said = self.refused(
                RAMVOLD, "--listen=127.0.0.1:0", "--metrics_listen=", *flags
            )
            self.assertIn(words, said)


if __name__ == "__main__":
    unittest.main()
