"""Creates, lists and deletes many volumes by gRPC; prints figures as JSON.

A program of its own, because gRPC's threads and starting servers do not mix.
Arguments: ramvold's address, its process id, how many, and the folder of the
protos.
"""

import json
import subprocess
import sys
import tempfile
import time

from servers import cpu_seconds_of, rss_bytes_of

_PAGE = 1000
_VOLUME_BYTES = 1 << 40
# Memory is looked at so many times on the way.
_LOOKS = 20


def _load_module(proto_dir):
    """The messages of VolumeService, generated for this run."""
    with tempfile.TemporaryDirectory(prefix="ramvol-proto.") as out:
        subprocess.run(
            [
                *("protoc", f"-I{proto_dir}", f"--python_out={out}"),
                "ramvol/v1/volume_service.proto",
            ],
            check=True,
        )
        sys.path.insert(0, out)
        from ramvol.v1 import volume_service_pb2

    return volume_service_pb2


class _Service:
    """Calls methods of VolumeService by name."""

    def __init__(self, address, module):
        import grpc

        self._channel = grpc.insecure_channel(address)
        self._module = module

    def method(self, name):
        request = getattr(self._module, name + "Request")
        response = getattr(self._module, name + "Response")
        call = self._channel.unary_unary(
            f"/ramvol.v1.VolumeService/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        return lambda **fields: call(request(**fields), timeout=60)


def _names(count):
    return [f"volume-{number}" for number in range(count)]


def _create(service, count, look):
    create = service.method("CreateVolume")
    for number, name in enumerate(_names(count)):
        look(number)
        create(name=name, size_bytes=_VOLUME_BYTES)
    look(count)


def _list(service, count):
    list_page, token, seen = service.method("ListVolumes"), "", 0
    while True:
        page = list_page(page_size=_PAGE, page_token=token)
        seen += len(page.volumes)
        token = page.next_page_token
        if not token:
            break
    assert seen == count, f"{seen} of {count} volumes are listed"


def _delete(service, count):
    delete = service.method("DeleteVolume")
    for name in _names(count):
        delete(name=name)


def main(address, pid, count, proto_dir):
    service = _Service(address, _load_module(proto_dir))
    service.method("ListVolumes")()  # Connects.
    curve, phases = [], {}

    def look(number):
        if number % max(1, count // _LOOKS) == 0:
            curve.append((number, rss_bytes_of(pid)))

    def phase(name, work):
        started, cpu = time.monotonic(), cpu_seconds_of(pid)
        work()
        phases[name] = {
            "seconds": time.monotonic() - started,
            "cpu_seconds": cpu_seconds_of(pid) - cpu,
            "rss_bytes": rss_bytes_of(pid),
        }

    before = rss_bytes_of(pid)
    phase("create", lambda: _create(service, count, look))
    phase("list", lambda: _list(service, count))
    phase("delete", lambda: _delete(service, count))
    print(json.dumps({"before": before, "curve": curve, "phases": phases}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
