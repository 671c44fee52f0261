"""A client in another language, made from the protos alone.

Arguments: the paths of ramvold, of protoc, and of the folder with the protos and
of the one with google/rpc's. Python's gRPC works from generated messages and
method names, so nothing of ours but the .proto files is used here.
"""

import hashlib
import os
import random
import subprocess
import sys
import tempfile

import grpc

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from protos import PATIENCE, Stub, load_protos


def error_reason(error):
    from google.rpc import error_details_pb2, status_pb2

    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info.reason
    return None


def round_trip(volumes, blocks):
    size = 5 * 1024 * 1024 + 123
    made = volumes.CreateVolume(name="python", size_bytes=size).volume
    assert made.size_bytes == size and made.uid, made
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    expected = bytearray(size)
    for _ in range(200):
        offset = rng.randrange(size)
        length = min(rng.randrange(1, 300000), size - offset)
        if rng.random() < 0.2:
            blocks.Trim(volume="python", offset=offset, length=length)
            expected[offset : offset + length] = bytes(length)
        else:
            data = (rng.randbytes(50) * (length // 50 + 1))[:length]
            blocks.Write(volume="python", offset=offset, data=data)
            expected[offset : offset + length] = data
    read = b"".join(
        blocks.Read(volume="python", offset=at, length=min(1 << 20, size - at)).data
        for at in range(0, size, 1 << 20)
    )
    assert hashlib.sha256(read).digest() == hashlib.sha256(expected).digest()
    stats = volumes.StatVolume(name="python").stats
    assert 0 < stats.stored_bytes < stats.logical_bytes <= size + 4096, stats


def stream(channel, module):
    requests = [
        module.IoRequest(volume="python"),
        module.IoRequest(
            operations=[
                module.IoOperation(
                    id=i, write=module.IoWrite(offset=i * 4096, data=b"%4096d" % i)
                )
                for i in range(16)
            ]
        ),
    ]
    call = channel.stream_stream(
        "/ramvol.v1.BlockService/Io",
        request_serializer=module.IoRequest.SerializeToString,
        response_deserializer=module.IoResponse.FromString,
    )
    answered = set()
    for response in call(iter(requests), timeout=PATIENCE):
        for result in response.results:
            assert not result.HasField("error"), result
            answered.add(result.id)
    assert answered == set(range(16)), answered


def errors(volumes):
    for call, code, reason in [
        (
            lambda: volumes.GetVolume(name="none"),
            grpc.StatusCode.NOT_FOUND,
            "VOLUME_NOT_FOUND",
        ),
        (
            lambda: volumes.CreateVolume(name="UPPER", size_bytes=1),
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_NAME",
        ),
    ]:
        try:
            call()
        except grpc.RpcError as error:
            assert error.code() == code, error
            assert error_reason(error) == reason, error
        else:
            raise AssertionError(f"no {reason}")


def main():
    ramvold, protoc, protos, googleapis = map(os.path.abspath, sys.argv[1:5])
    with tempfile.TemporaryDirectory() as work:
        load_protos(protoc, [protos, googleapis, "/usr/include"], work)
        from ramvol.v1 import block_service_pb2, volume_service_pb2

        socket = os.path.join(work, "s")
        server = subprocess.Popen(
            [ramvold, "--listen=unix:" + socket, "--metrics_listen="],
            stdout=subprocess.PIPE,
        )
        try:
            assert b"ready" in server.stdout.readline()
            with grpc.insecure_channel("unix:" + socket) as channel:
                volumes = Stub(channel, "VolumeService", volume_service_pb2)
                blocks = Stub(channel, "BlockService", block_service_pb2)
                round_trip(volumes, blocks)
                stream(channel, block_service_pb2)
                errors(volumes)
                volumes.DeleteVolume(name="python")
        finally:
            server.terminate()
            assert server.wait(timeout=PATIENCE) == 0
    print("the Python client: all as expected")


if __name__ == "__main__":
    main()
