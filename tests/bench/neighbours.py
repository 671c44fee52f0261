#!/usr/bin/python3
"""What clients at full speed do to another one, with and without limits. Two loud
clients, fio's 4 KiB random reads over NBD at depth 32, and over Io at depth 64
(fio to ramvol-nbd, which speaks Io), on a volume of theirs; one quiet client, the
same at depth 1 on its own volume, each way. Prints the table of
docs/benchmark/neighbours.md. On a machine that does nothing else:

    ./dev build //server:ramvold //nbd_bridge:ramvol-nbd //client/cli:ramvol
    tests/bench/neighbours.py bazel-bin [SECONDS]
"""

import json
import os
import subprocess
import sys
import tempfile
import time

BIN = os.path.realpath(sys.argv[1])
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 8
MIB = 1 << 20
SIZE = 256 * MIB
LIMIT = "--iops-total=4000"  # Of the loud clients' volume.


class Servers:
    """ramvold, and a ramvol-nbd for each volume."""

    def __init__(self, work):
        self.grpc = f"unix:{work}/grpc"
        # Where volumes are over NBD, by way in and volume.
        self.sockets = {("NBD", name): f"{work}/nbd" for name in ("loud", "quiet")}
        self.processes = []
        self.start(
            *(f"{BIN}/server/ramvold", f"--listen={self.grpc}", "--memory_limit=2G"),
            *(f"--nbd_listen=unix:{work}/nbd", "--metrics_listen="),
        )
        for name in ("loud", "quiet"):
            self.ramvol("create", name, str(SIZE))
            data = b"".join(
                os.urandom(MIB // 2) + bytes(range(256)) * 2048
                for _ in range(SIZE // MIB)
            )
            self.ramvol("write", name, "0", input=data)
            self.sockets["Io", name] = f"{work}/{name}"
            self.start(
                *(f"{BIN}/nbd_bridge/ramvol-nbd", f"--server={self.grpc}"),
                f"--listen=unix:{work}/{name}",
            )

    def start(self, *command):
        self.processes.append(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
        assert "ready" in self.processes[-1].stdout.readline()

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            process.wait()

    def ramvol(self, *arguments, **how):
        subprocess.run(
            [f"{BIN}/client/cli/ramvol", f"--server={self.grpc}", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            **how,
        )

    def fio(self, way, volume, depth, seconds):
        socket = self.sockets[way, volume]
        return subprocess.Popen(
            [
                *("fio", "--name=x", "--ioengine=nbd", "--rw=randread", "--bs=4k"),
                f"--uri=nbd+unix:///{volume}?socket={socket}",
                *(f"--iodepth={depth}", "--time_based", f"--runtime={seconds}"),
                *("--output-format=json", "--norandommap"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )


def figures(process):
    """Operations a second, p50, p99 and p99.9 in microseconds."""
    out = process.communicate()[0]
    assert process.returncode == 0, out
    read = json.loads(out[out.index("{") :])["jobs"][0]["read"]
    times = read["clat_ns"]["percentile"]
    return [read["iops"]] + [
        times[f"{percent:.6f}"] / 1000 for percent in (50, 99, 99.9)
    ]


def scene(servers, name, loud):
    """The quiet client over each way in, beside the loud ones or not."""
    for way in ("NBD", "Io"):
        others = []
        if loud:
            others = [
                servers.fio("NBD", "loud", 32, SECONDS + 2),
                servers.fio("Io", "loud", 64, SECONDS + 2),
            ]
            time.sleep(1)
        iops, p50, p99, p999 = figures(servers.fio(way, "quiet", 1, SECONDS))
        counts = [f"{figures(process)[0]:,.0f}" for process in others]
        print(
            f"| {name} | {way} | {iops:,.0f} | {p50:.0f} µs | {p99:,.0f} µs "
            f"| {p999:,.0f} µs | {' + '.join(counts) or '-'} |",
            flush=True,
        )


def main():
    with tempfile.TemporaryDirectory(prefix="ramvol-neighbours.") as work:
        servers = Servers(work)
        try:
            print("| beside | quiet over | a second | p50 | p99 | p99.9 | loud ones |")
            print("|---|---|---:|---:|---:|---:|---:|")
            scene(servers, "nobody", False)
            scene(servers, "loud ones", True)
            servers.ramvol("set", "loud", LIMIT)
            scene(servers, "loud ones, limited", True)
        finally:
            servers.stop()


if __name__ == "__main__":
    main()
