"""Creates, lists and deletes many volumes by gRPC; prints figures as JSON.

A program of its own, because gRPC's threads and starting servers do not mix.
Arguments: ramvold's address, its process id, how many, and the folders of the
protos.
"""

import json
import sys
import time

from grpc_client import VOLUMES, Client
from servers import cpu_seconds_of, rss_bytes_of

_PAGE = 1000
_VOLUME_BYTES = 1 << 40
# Memory is looked at so many times on the way.
_LOOKS = 20


def _names(count):
    return [f"volume-{number}" for number in range(count)]


def _create(client, count, look):
    create = client.method(VOLUMES, "CreateVolume")
    for number, name in enumerate(_names(count)):
        look(number)
        create(name=name, size_bytes=_VOLUME_BYTES)
    look(count)


def _list(client, count):
    list_page, token, seen = client.method(VOLUMES, "ListVolumes"), "", 0
    while True:
        page = list_page(page_size=_PAGE, page_token=token)
        seen += len(page.volumes)
        token = page.next_page_token
        if not token:
            break
    assert seen == count, f"{seen} of {count} volumes are listed"


def _delete(client, count):
    delete = client.method(VOLUMES, "DeleteVolume")
    for name in _names(count):
        delete(name=name)


def main(address, pid, count, proto_dirs):
    client = Client(address, proto_dirs)
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
    phase("create", lambda: _create(client, count, look))
    phase("list", lambda: _list(client, count))
    phase("delete", lambda: _delete(client, count))
    print(json.dumps({"before": before, "curve": curve, "phases": phases}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
