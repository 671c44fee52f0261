"""Clones a volume many times by gRPC, then writes 4 KiB to each clone; prints
figures as JSON.

A program of its own, because gRPC's threads and starting servers do not mix.
Arguments: ramvold's address, its process id, the volume, how many clones, where
to write, and the folders of the protos.
"""

import json
import sys

from clones import blocks, measure
from grpc_client import BLOCKS, VOLUMES, Client
from servers import rss_bytes_of


def main(address, pid, volume, count, offset, proto_dirs):
    client = Client(address, proto_dirs)
    create = client.method(VOLUMES, "CreateVolume")
    write = client.method(BLOCKS, "Write")
    info = client.method(VOLUMES, "GetServerInfo")
    contents = blocks(count)
    client.method(VOLUMES, "CreateSnapshot")(volume=volume, name="golden")

    def clone_all():
        for number in range(count):
            create(name=f"clone-{number}", source="@golden")

    def write_all():
        for number, data in enumerate(contents):
            write(volume=f"clone-{number}", offset=offset, data=data)

    def memory():
        return {
            "resident": rss_bytes_of(pid),
            "counted": info().memory_used_bytes,
        }

    print(json.dumps(measure(count, clone_all, write_all, memory)))


if __name__ == "__main__":
    main(
        *(sys.argv[1], int(sys.argv[2]), sys.argv[3]),
        *(int(sys.argv[4]), int(sys.argv[5]), sys.argv[6]),
    )
