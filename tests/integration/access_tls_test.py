#!/usr/bin/python3
"""Who one is, over TLS, and what one may do by that: a certificate's names, a
pre-shared key, a token and the user of a Unix socket, by gRPC, Io and NBD, with other
people's clients.
Arguments: the paths of ramvold, ramvol, protoc and the two folders of protos."""

import base64
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

import grpc
import nbd

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from programs import PATIENCE, Program, run
from protos import Stub, load_protos
from tls_files import Authority, make_keys, read

RAMVOLD, RAMVOL, PROTOC, *PROTOS = (os.path.realpath(sys.argv.pop(1)) for _ in range(5))
FOLDER = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
load_protos(PROTOC, [*PROTOS, "/usr/include"], FOLDER)
from ramvol.v1 import block_service_pb2, volume_service_pb2

CA = Authority(os.path.join(FOLDER, "ca"))
CA.sign("server")
KEYS = make_keys(os.path.join(FOLDER, "keys.psk"), "bob", "mallory")
KEY_TEXTS = [line.split(":")[1] for line in read(KEYS).decode().split()]
USER = f"unix:{os.getuid()}"

# By the volumes that each may write to, NAME-1. All may read "shared", nobody "secret".
CERTIFICATES = {
    "uri": ("nobody", "URI:spiffe://test/ci/7"),
    "dns": ("nobody", "DNS:host.example"),
    "cn": ("alice", "DNS:elsewhere.example"),
    "other": ("mallory", "URI:spiffe://test/cd/7,DNS:host.example.org"),
}
GRANTED = {
    "uri": "uri:spiffe://test/ci/*",
    "dns": "dns:host.example",
    "cn": "cn:alice",
    "psk": "psk:bob",
    "token": "token:bot",
    "unix": USER,
}
MONITOR = 'grants { identities: "token:monitor" role: ROLE_VIEWER }\n'
GRPC = ("uri", "dns", "cn", "token", "unix")
NBD = ("uri", "dns", "cn", "psk", "unix")
# Io takes a place before it names a volume: not that of somebody without any grant.
OF_NO_GRANT = ("NOT_FOUND", "NOT_FOUND", "PERMISSION_DENIED")


def grant(identity, volumes, role):
    return f'grants {{ identities: "{identity}" volumes: "{volumes}" role: ROLE_{role} }}\n'


def policy(names):
    text = 'grants { identities: "socket:*/admin" role: ROLE_ADMIN }\n'
    text += MONITOR
    for name in names:
        text += grant(GRANTED[name], f"{name}-*", "WRITER")
        text += grant(GRANTED[name], "shared", "READER")
    return text


def replace(path, text):
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(text)
    os.rename(path + ".new", path)


def credentials_folder(name):
    """As libnbd and QEMU want it."""
    folder = os.path.join(FOLDER, f"of-{name}")
    os.mkdir(folder)
    shutil.copy(CA.path("ca-cert.pem"), folder)
    if name in CERTIFICATES:
        for path, what in zip(CA.sign(name, *CERTIFICATES[name]), ("cert", "key")):
            shutil.copy(path, os.path.join(folder, f"client-{what}.pem"))
    return folder


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


class IoStream:
    """An open stream of Io."""

    def __init__(self, channel, volume):
        self.requests = queue.Queue()
        self.requests.put(block_service_pb2.IoRequest(volume=volume))
        self.call = channel.stream_stream(
            "/ramvol.v1.BlockService/Io",
            request_serializer=block_service_pb2.IoRequest.SerializeToString,
            response_deserializer=block_service_pb2.IoResponse.FromString,
        )(iter(self.requests.get, None), timeout=PATIENCE)
        self.opened = next(self.call).opened

    def flush(self):
        operation = block_service_pb2.IoOperation(
            id=1, flush=block_service_pb2.IoFlush()
        )
        self.requests.put(block_service_pb2.IoRequest(operations=[operation]))
        return next(self.call).results[0]

    def wait_for_end(self):
        """Returns the code."""
        code = code_of(lambda: list(self.call))
        self.requests.put(None)
        return code

    def close(self):
        self.requests.put(None)
        list(self.call)


def wait_for_nbd_end(handle):
    end = time.monotonic() + PATIENCE
    try:
        while not handle.aio_is_closed():
            assert time.monotonic() < end
            handle.poll(100)
    except nbd.Error:
        pass  # It was in the middle of nothing.


class AccessTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.policy = os.path.join(FOLDER, "policy")
        replace(cls.policy, policy(GRANTED))
        tokens = os.path.join(FOLDER, "tokens")
        cls.tokens = {}
        lines = ""
        for name in ("bot", "monitor", "stranger"):
            said = run(RAMVOL, "auth", "new-token", name).split()
            cls.tokens[name] = next(word for word in said if word.startswith("rv_"))
            lines += next(word for word in said if ":sha256:" in word) + "\n"
        replace(tokens, lines)
        cls.folders = {name: credentials_folder(name) for name in CERTIFICATES}
        cls.folders["unix"] = credentials_folder("unix")
        cls.server = Program(
            RAMVOLD,
            "--listen=127.0.0.1:0,unix:SOCKETS/grpc,unix:SOCKETS/admin",
            "--metrics_listen=127.0.0.1:0",
            "--nbd_listen=127.0.0.1:0,unix:SOCKETS/nbd",
            "--memory_limit=256M",
            f"--tls_cert={CA.path('server-cert.pem')}",
            f"--tls_key={CA.path('server-key.pem')}",
            f"--tls_client_ca={CA.path('ca-cert.pem')}",
            "--tls_client_auth=optional",
            f"--nbd_tls_psk={KEYS}",
            f"--auth_policy={cls.policy}",
            f"--token_file={tokens}",
            f"--audit_log={FOLDER}/audit",
        )
        for name in (*(f"{name}-1" for name in GRANTED), "shared", "secret"):
            run(
                *(RAMVOL, f"--server=unix:{cls.server.socket('admin')}"),
                *("create", name, "16M"),
            )

    @classmethod
    def tearDownClass(cls):
        # Secrets are in no log, whoever sent them.
        written = read(cls.server.log)
        cls.server.stop()
        written += read(f"{FOLDER}/audit")
        assert b"token:bot" in written
        for secret in (*cls.tokens.values(), *KEY_TEXTS):
            assert secret.encode() not in written, written

    # gRPC

    def channel(self, name):
        """A connection of its own, as `name`."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        if name == "unix":
            address = "unix:" + self.server.socket("grpc")
            channel = grpc.insecure_channel(address, options)
            self.addCleanup(channel.close)
            return channel
        files = ()
        if name in CERTIFICATES:
            files = (CA.path(f"{name}-key.pem"), CA.path(f"{name}-cert.pem"))
        credentials = grpc.ssl_channel_credentials(
            read(CA.path("ca-cert.pem")), *map(read, files)
        )
        if name in ("token", "stranger", "unknown"):
            token = {"token": "bot"}.get(name, name)
            credentials = grpc.composite_channel_credentials(
                credentials,
                grpc.access_token_call_credentials(self.tokens.get(token, "rv_no")),
            )
        address = f"127.0.0.1:{self.server.port('grpc')}"
        channel = grpc.secure_channel(address, credentials, options)
        self.addCleanup(channel.close)
        return channel

    def codes(self, name, volume):
        """What reading, writing and Io answer."""
        channel = self.channel(name)
        blocks = Stub(channel, "BlockService", block_service_pb2)
        return (
            code_of(lambda: blocks.Read(volume=volume, length=4096)),
            code_of(lambda: blocks.Write(volume=volume, data=b"x")),
            code_of(lambda: IoStream(channel, volume).close()),
        )

    def test_grpc(self):
        for name in GRPC:
            with self.subTest(name):
                self.assertEqual(self.codes(name, f"{name}-1"), ("OK",) * 3)
                self.assertEqual(
                    self.codes(name, "shared"), ("OK", "PERMISSION_DENIED", "OK")
                )
                self.assertTrue(IoStream(self.channel(name), "shared").opened.read_only)
                for hidden in ("secret", "psk-1", "none"):
                    self.assertEqual(self.codes(name, hidden), ("NOT_FOUND",) * 3)
                volumes = Stub(
                    self.channel(name), "VolumeService", volume_service_pb2
                ).ListVolumes()
                self.assertEqual(
                    [volume.name for volume in volumes.volumes],
                    sorted([f"{name}-1", "shared"]),
                )

    def test_grpc_strangers(self):
        """No certificate; one, and a token, that are granted nothing; a token that
        is not known."""
        for name in ("nobody", "other", "stranger", "unknown"):
            with self.subTest(name):
                wanted = ("UNAUTHENTICATED",) * 3
                if name in ("other", "stranger"):  # They are somebody.
                    wanted = OF_NO_GRANT
                self.assertEqual(self.codes(name, "shared"), wanted)

    def test_tokens_over_unix_sockets(self):
        """They count beside the user."""
        path = os.path.join(FOLDER, "token")
        replace(path, self.tokens["bot"])
        server = f"--server=unix:{self.server.socket('grpc')}"
        said = run(RAMVOL, server, f"--token-file={path}", "auth", "whoami")
        self.assertIn("token:bot", said)
        self.assertIn("unix:", said)
        ask = (RAMVOL, server, "auth", "can-i", "write", "token-1")
        run(*ask, fails=True)
        run(*ask, f"--token-file={path}")
        replace(path, "rv_no")
        said = run(
            *(RAMVOL, server, f"--token-file={path}", "auth", "whoami"), fails=True
        )
        self.assertIn("does not know this bearer token", said)

    # NBD

    def uri(self, name, volume, user="bob"):
        port = self.server.port("nbd")
        if name == "psk":
            return f"nbds://{user}@localhost:{port}/{volume}?tls-psk-file={KEYS}"
        files = f"tls-certificates={self.folders[name]}"
        if name == "unix":
            path = self.server.socket("nbd")
            return f"nbds+unix:///{volume}?socket={path}&{files}"
        return f"nbds://localhost:{port}/{volume}?{files}"

    def open(self, name, volume, **how):
        handle = nbd.NBD()
        handle.set_tls(nbd.TLS_REQUIRE)
        handle.set_uri_allow_local_file(True)
        handle.connect_uri(self.uri(name, volume, **how))
        return handle

    def qemu_img(self, name, volume, user="bob", **how):
        kind, folder, extra = "x509", self.folders.get(name), ""
        if name == "psk":
            kind, extra = "psk", f",username={user}"
            folder = os.path.join(FOLDER, "qemu")
            os.makedirs(folder, exist_ok=True)
            shutil.copy(KEYS, folder)
        if name == "unix":
            # QEMU wants to be told the name that the certificate has.
            where = f"server.type=unix,server.path={self.server.socket('nbd')}"
            where += ",tls-hostname=localhost"
        else:
            port = self.server.port("nbd")
            where = f"server.type=inet,server.host=localhost,server.port={port}"
        secret = f"tls-creds-{kind},id=t,endpoint=client,dir={folder}{extra}"
        run(
            *("qemu-img", "info", "--object", secret, "--image-opts"),
            f"driver=nbd,{where},export={volume},tls-creds=t",
            **how,
        )

    def test_nbd(self):
        for name in NBD:
            with self.subTest(name):
                own = f"{name}-1"
                self.assertIn("with TLS", run("nbdinfo", self.uri(name, own)))
                listed = run("nbdinfo", "--list", self.uri(name, ""))
                self.assertIn(f'export="{own}"', listed)
                self.assertIn('export="shared"', listed)
                self.assertEqual(listed.count("export="), 2)
                self.qemu_img(name, own)
                handle = self.open(name, own)
                handle.pwrite(b"x" * 4096, 0)
                self.assertEqual(handle.pread(4096, 0), b"x" * 4096)
                handle.shutdown()
                handle = self.open(name, "shared")
                self.assertTrue(handle.is_read_only())
                handle.shutdown()
                for hidden in ("secret", "token-1", "none"):
                    run("nbdinfo", self.uri(name, hidden), fails=True)
                    self.qemu_img(name, hidden, fails=True)
                    with self.assertRaises(nbd.Error):
                        self.open(name, hidden)

    def test_nbd_strangers(self):
        for name, how in (("other", {}), ("psk", {"user": "mallory"})):
            with self.subTest(name):
                run("nbdinfo", self.uri(name, "shared", **how), fails=True)
                self.qemu_img(name, "shared", fails=True, **how)
                with self.assertRaises(nbd.Error):
                    self.open(name, "shared", **how)

    # Metrics and the status page

    def get(self, path, authorization=None):
        """The code and the text."""
        url = f"https://localhost:{self.server.port('metrics')}{path}"
        request = urllib.request.Request(url)
        if authorization:
            request.add_header("Authorization", authorization)
        try:
            with urllib.request.urlopen(request, context=CA.context()) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def test_monitoring(self):
        monitor = self.tokens["monitor"]
        password = base64.b64encode(f"me:{monitor}".encode()).decode()
        for path in ("/metrics", "/api/v1/volumes"):
            for known in (f"Bearer {monitor}", f"Basic {password}"):
                code, text = self.get(path, known)
                self.assertEqual(code, 200)
                self.assertIn("secret", text)
            for who in (None, f"Bearer {self.tokens['bot']}", "Bearer rv_no"):
                code, text = self.get(path, who)
                self.assertEqual(code, 401)
                self.assertNotIn("secret", text)
        for path in ("/", "/page/main.js"):
            self.assertEqual(self.get(path)[0], 401)
            self.assertEqual(self.get(path, f"Basic {password}")[0], 200)
        for path in ("/healthz", "/readyz"):
            self.assertEqual(self.get(path), (200, "ok\n"))

    # Rights that go away

    def test_what_is_open_ends(self):
        """For one at first, while the others go on, then for all."""
        io = {name: IoStream(self.channel(name), f"{name}-1") for name in GRPC}
        handles = {name: self.open(name, f"{name}-1") for name in NBD}
        self.addCleanup(replace, self.policy, policy(GRANTED))
        left = [name for name in GRANTED if name != "cn"]
        replace(self.policy, policy(left))
        began = time.monotonic()
        self.assertEqual(io.pop("cn").wait_for_end(), "PERMISSION_DENIED")
        wait_for_nbd_end(handles.pop("cn"))
        print(f"cn: {time.monotonic() - began:.2f} s until both had ended")
        for name, stream in io.items():
            self.assertFalse(stream.flush().HasField("error"), name)
        for handle in handles.values():
            handle.flush()
        replace(self.policy, policy([]))
        began = time.monotonic()
        ends = [
            threading.Thread(target=wait_for_nbd_end, args=(handle,))
            for handle in handles.values()
        ]
        for end in ends:
            end.start()
        for name, stream in io.items():
            self.assertEqual(stream.wait_for_end(), "PERMISSION_DENIED", name)
        for end in ends:
            end.join()
        print(f"all: {time.monotonic() - began:.2f} s until all had ended")
        # Nor does one come in again.
        self.assertEqual(self.codes("uri", "uri-1"), OF_NO_GRANT)
        for name in NBD:
            run("nbdinfo", self.uri(name, f"{name}-1"), fails=True)


if __name__ == "__main__":
    unittest.main()
