"""A plain gRPC client of ramvold, with messages generated for the run.

`proto_dirs` are the folders of ramvol/v1/ and google/rpc/, with colons between
them.

For programs of their own, because gRPC's threads and starting servers do not
mix.
"""

import importlib
import subprocess
import sys
import tempfile

VOLUMES, BLOCKS = "VolumeService", "BlockService"
_MODULES = {
    VOLUMES: "ramvol/v1/volume_service",
    BLOCKS: "ramvol/v1/block_service",
}
_NEEDED = "google/rpc/status"


class Client:
    """Calls methods of both services, one after the other."""

    def __init__(self, address, proto_dirs):
        import grpc

        self._modules = _load_modules(proto_dirs)
        self._channel = grpc.insecure_channel(address)
        self.method(VOLUMES, "ListVolumes")()  # Connects.

    def method(self, service, name):
        """A function that makes the call with the fields that it is given."""
        module = self._modules[service]
        request = getattr(module, name + "Request")
        response = getattr(module, name + "Response")
        call = self._channel.unary_unary(
            f"/ramvol.v1.{service}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        return lambda **fields: call(request(**fields), timeout=60)


def _load_modules(proto_dirs):
    with tempfile.TemporaryDirectory(prefix="ramvol-proto.") as out:
        files = [f"{name}.proto" for name in (*_MODULES.values(), _NEEDED)]
        subprocess.run(
            ["protoc", f"-I{proto_dirs}", f"--python_out={out}", *files], check=True
        )
        sys.path.insert(0, out)
        return {
            service: importlib.import_module(name.replace("/", ".") + "_pb2")
            for service, name in _MODULES.items()
        }
