"""Messages made from the protos alone, and calls by name."""

import os
import subprocess
import sys

PATIENCE = 120  # Seconds; for a busy machine, not what is normal.


def load_protos(protoc, include_dirs, out_dir):
    subprocess.run(
        [protoc]
        + ["-I" + path for path in include_dirs]
        + ["--python_out=" + out_dir]
        + [
            "ramvol/v1/volume_service.proto",
            "ramvol/v1/block_service.proto",
            "google/rpc/status.proto",
            "google/rpc/error_details.proto",
        ],
        check=True,
    )
    # The generated google/rpc must not be hidden by an installed `google`.
    import google

    google.__path__.append(os.path.join(out_dir, "google"))
    sys.path.insert(0, out_dir)


class Stub:
    """Calls methods by name."""

    def __init__(self, channel, service, module):
        self.channel, self.service, self.module = channel, service, module

    def __getattr__(self, method):
        request = getattr(self.module, method + "Request")
        call = self.channel.unary_unary(
            f"/ramvol.v1.{self.service}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=getattr(self.module, method + "Response").FromString,
        )
        return lambda **fields: call(request(**fields), timeout=PATIENCE)
