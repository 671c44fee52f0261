#!/usr/bin/python3
"""Other people's gRPC clients with certificates: grpcio, grpcurl and grpc-js, each with
unary calls, a stream of the server's, and Io; and what they are told without one.
Arguments: the paths of ramvold, protoc, grpc_js_client.js and the two folders of
protos."""

import os
import sys
import tempfile
import unittest

import grpc

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from programs import PATIENCE, Program, run
from protos import Stub, load_protos
from tls_files import Authority, read

RAMVOLD, PROTOC, SCRIPT, *PROTOS = (os.path.realpath(sys.argv.pop(1)) for _ in range(5))
FOLDER = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
PROTOS.append("/usr/include")
load_protos(PROTOC, PROTOS, FOLDER)
from ramvol.v1 import block_service_pb2, volume_service_pb2

CA = Authority(os.path.join(FOLDER, "ca"))
CA.sign("server")
CA.sign("client")
SIZE = 1 << 20
MAGIC = b"QFI\xfb"  # An image begins with it.


class MutualTls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Program(
            RAMVOLD,
            "--listen=127.0.0.1:0",
            "--metrics_listen=",
            "--memory_limit=64M",
            f"--tls_cert={CA.path('server-cert.pem')}",
            f"--tls_key={CA.path('server-key.pem')}",
            f"--tls_client_ca={CA.path('ca-cert.pem')}",
        )
        cls.address = f"127.0.0.1:{cls.server.port('grpc')}"

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    # grpcio

    def channel(self, *names):
        credentials = grpc.ssl_channel_credentials(
            read(CA.path("ca-cert.pem")), *(read(CA.path(name)) for name in names)
        )
        channel = grpc.secure_channel(self.address, credentials)
        self.addCleanup(channel.close)
        return channel

    def test_grpcio(self):
        channel = self.channel("client-key.pem", "client-cert.pem")
        volumes = Stub(channel, "VolumeService", volume_service_pb2)
        blocks = Stub(channel, "BlockService", block_service_pb2)
        volumes.CreateVolume(name="grpcio", size_bytes=SIZE)
        blocks.Write(volume="grpcio", offset=4096, data=b"hello")
        save = channel.unary_stream(
            "/ramvol.v1.BlockService/Save",
            request_serializer=block_service_pb2.SaveRequest.SerializeToString,
            response_deserializer=block_service_pb2.SaveResponse.FromString,
        )
        request = block_service_pb2.SaveRequest(volume="grpcio")
        image = b"".join(part.data for part in save(request, timeout=PATIENCE))
        self.assertEqual(image[:4], MAGIC)
        io = channel.stream_stream(
            "/ramvol.v1.BlockService/Io",
            request_serializer=block_service_pb2.IoRequest.SerializeToString,
            response_deserializer=block_service_pb2.IoResponse.FromString,
        )
        reading = block_service_pb2.IoRead(offset=4096, length=5)
        requests = [
            block_service_pb2.IoRequest(volume="grpcio"),
            block_service_pb2.IoRequest(
                operations=[block_service_pb2.IoOperation(id=1, read=reading)]
            ),
        ]
        opened, answered = io(iter(requests), timeout=PATIENCE)
        self.assertEqual(opened.opened.size_bytes, SIZE)
        self.assertEqual(answered.results[0].data, b"hello")
        volumes.DeleteVolume(name="grpcio")

    def test_grpcio_without_one(self):
        volumes = Stub(self.channel(), "VolumeService", volume_service_pb2)
        with self.assertRaises(grpc.RpcError) as caught:
            volumes.ListVolumes()
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)

    # grpcurl

    def grpcurl(self, method, request, certificate=True, **how):
        flags = ("-cacert", CA.path("ca-cert.pem"), "-max-time", str(PATIENCE))
        if certificate:
            flags += ("-cert", CA.path("client-cert.pem"))
            flags += ("-key", CA.path("client-key.pem"))
        return run(
            *("grpcurl", *flags, "-d", request, self.address),
            f"ramvol.v1.{method}",
            **how,
        )

    def test_grpcurl(self):
        named = '{"name":"grpcurl"'
        self.grpcurl("VolumeService/CreateVolume", named + f',"size_bytes":{SIZE}}}')
        self.grpcurl(
            "BlockService/Write", '{"volume":"grpcurl","offset":4096,"data":"aGVsbG8="}'
        )
        events = self.grpcurl("VolumeService/WatchEvents", "{}")
        self.assertIn("volume_created", events)
        saved = self.grpcurl("BlockService/Save", '{"volume":"grpcurl"}')
        self.assertIn(f'"{SIZE}"', saved)
        answered = self.grpcurl(
            "BlockService/Io",
            '{"volume":"grpcurl"}{"operations":[{"id":1,"read":'
            '{"offset":4096,"length":5}}]}',
        )
        self.assertIn("aGVsbG8=", answered)
        self.grpcurl("VolumeService/DeleteVolume", named + "}")

    def test_grpcurl_without_one(self):
        self.grpcurl("VolumeService/ListVolumes", "{}", certificate=False, fails=True)

    # grpc-js

    def grpc_js(self, *files, **how):
        return run("ramvol-grpc-js", SCRIPT, self.address, *files, *PROTOS, **how)

    def test_grpc_js(self):
        names = ("ca-cert.pem", "client-key.pem", "client-cert.pem")
        said = self.grpc_js(*map(CA.path, names))
        self.assertIn("grpc-js: all as expected", said)

    def test_grpc_js_without_one(self):
        said = self.grpc_js(CA.path("ca-cert.pem"), "", "", fails=True)
        self.assertIn("UNAVAILABLE", said)


if __name__ == "__main__":
    unittest.main()
