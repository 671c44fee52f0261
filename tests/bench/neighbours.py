#!/usr/bin/python3
"""What a client at full speed does to another one, with and without limits. Two
loud clients, 4 KiB random reads over Io at depth 64 and over NBD at depth 32 on
a volume of theirs; one quiet client, the same at depth 1 on its own volume, over
Io and over NBD. Prints the table of docs/benchmark/neighbours.md. On a machine
that does nothing else:

    ./dev build //server:ramvold //client/cli:ramvol //tests/bench:neighbour_load
    tests/bench/neighbours.py bazel-bin
"""

import json
import os
import subprocess
import sys
import tempfile
import time

BIN = os.path.realpath(sys.argv[1])
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 8
SIZE = 256 << 20
LIMIT = ["--iops-total=4000", "--bps-total=64M"]  # Of the loud clients' volume.


class Server:
    def __init__(self, work):
        self.grpc, self.nbd = f"unix:{work}/grpc", f"{work}/nbd"
        self.process = subprocess.Popen(
            [
                *(f"{BIN}/server/ramvold", f"--listen={self.grpc}"),
                *(f"--nbd_listen=unix:{self.nbd}", "--metrics_listen="),
                "--memory_limit=2G",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert "ready" in self.process.stdout.readline()
        for name in ("loud", "quiet"):
            self.ramvol("create", name, str(SIZE))
            fill = subprocess.Popen(
                [f"{BIN}/client/cli/ramvol", f"--server={self.grpc}", "write", name],
                stdin=subprocess.PIPE,
            )
            for _ in range(SIZE >> 20):
                fill.stdin.write(os.urandom(1 << 19) + bytes(range(256)) * (1 << 11))
            fill.stdin.close()
            assert fill.wait() == 0

    def ramvol(self, *arguments):
        subprocess.run(
            [f"{BIN}/client/cli/ramvol", f"--server={self.grpc}", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def io(self, volume, depth, seconds):
        return subprocess.Popen(
            [
                *(f"{BIN}/tests/bench/neighbour_load", self.grpc, volume),
                *(str(SIZE), "4096", str(depth), str(seconds)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )

    def fio(self, volume, depth, seconds):
        return subprocess.Popen(
            [
                *("fio", "--name=x", "--ioengine=nbd", "--rw=randread", "--bs=4k"),
                *(f"--uri=nbd+unix:///{volume}?socket={self.nbd}",),
                *(f"--iodepth={depth}", "--time_based", f"--runtime={seconds}"),
                *("--output-format=json", "--norandommap"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )


def of_io(process):
    """Operations a second, p50 and p99 in microseconds."""
    out = process.communicate()[0]
    assert process.returncode == 0
    return [float(number) for number in out.split()]


def of_fio(process):
    out = process.communicate()[0]
    assert process.returncode == 0, out
    read = json.loads(out[out.index("{") :])["jobs"][0]["read"]
    times = read["clat_ns"]["percentile"]
    return [read["iops"], times["50.000000"] / 1000, times["99.000000"] / 1000]


def scene(server, name, loud):
    """The quiet client over each way in, beside the loud ones or not."""
    for way, start, figures in (
        ("Io", server.io, of_io),
        ("NBD", server.fio, of_fio),
    ):
        others = []
        if loud:
            others = [
                (of_io, server.io("loud", 64, SECONDS + 2)),
                (of_fio, server.fio("loud", 32, SECONDS + 2)),
            ]
            time.sleep(1)
        iops, p50, p99 = figures(start("quiet", 1, SECONDS))
        sums = [read(process)[0] for read, process in others]
        loud_text = " + ".join(f"{count:,.0f}" for count in sums) or "-"
        print(
            f"| {name} | {way} | {iops:,.0f} | {p50:.0f} µs | {p99:.0f} µs "
            f"| {loud_text} |",
            flush=True,
        )


def main():
    with tempfile.TemporaryDirectory(prefix="ramvol-neighbours.") as work:
        server = Server(work)
        try:
            print("| beside | quiet client | a second | p50 | p99 | loud: Io + NBD |")
            print("|---|---|---:|---:|---:|---:|")
            scene(server, "nobody", False)
            scene(server, "loud, no limits", True)
            server.ramvol("set", "loud", *LIMIT)
            scene(server, "loud, limited", True)
        finally:
            server.process.terminate()
            server.process.wait()


if __name__ == "__main__":
    main()
