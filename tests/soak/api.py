"""ramvol's gRPC API for Python, generated from the protos alone.

`load` comes before everything else; then `volumes` and `blocks` make stubs.
"""

import os
import subprocess
import sys

import grpc

# Largest message that a server may answer with, and a pool of connections for
# each channel: two channels never share one.
CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]
_SERVICES = {"VolumeService": "volume_service", "BlockService": "block_service"}


def load(proto_dir, googleapis_dir, out_dir):
    """Generates the modules into `out_dir`, and makes them importable."""
    subprocess.run(
        ["/usr/bin/protoc", "-I" + proto_dir, "-I" + googleapis_dir]
        + ["-I/usr/include", "--python_out=" + out_dir]
        + [f"ramvol/v1/{name}.proto" for name in _SERVICES.values()]
        + ["google/rpc/status.proto", "google/rpc/error_details.proto"],
        check=True,
    )
    # The generated google/rpc must not be hidden by an installed `google`.
    import google

    google.__path__.append(os.path.join(out_dir, "google"))
    sys.path.insert(0, out_dir)


def messages(service):
    """The generated module of a service."""
    from ramvol.v1 import block_service_pb2, volume_service_pb2

    return {
        "BlockService": block_service_pb2,
        "VolumeService": volume_service_pb2,
    }[service]


def open_channel(address):
    return grpc.insecure_channel(address, options=CHANNEL_OPTIONS)


class Stub:
    """A service's unary methods by name, with the fields of the request. Any
    that takes longer than `seconds` fails with DEADLINE_EXCEEDED."""

    def __init__(self, channel, service, seconds):
        self._channel, self._service, self._seconds = channel, service, seconds
        self._module = messages(service)
        self._calls = {}

    def __getattr__(self, method):
        request = getattr(self._module, method + "Request")
        if method not in self._calls:
            self._calls[method] = self._channel.unary_unary(
                f"/ramvol.v1.{self._service}/{method}",
                request_serializer=request.SerializeToString,
                response_deserializer=getattr(
                    self._module, method + "Response"
                ).FromString,
            )
        call, seconds = self._calls[method], self._seconds
        return lambda **fields: call(request(**fields), timeout=seconds)


def reason(error):
    """The ErrorInfo's reason of an RpcError, or None."""
    from google.rpc import status_pb2

    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return reason_of_status(status_pb2.Status.FromString(value))
    return None


def reason_of_status(status):
    """The same of a google.rpc.Status."""
    from google.rpc import error_details_pb2

    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return None
