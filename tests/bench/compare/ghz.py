"""Unary 4 KiB reads by ghz, of ramvold and of a bare gRPC server, in turn.

ghz has a gRPC of its own (Go's), so that neither server is measured by a client
that shares code with it. `./dev bench` builds ghz.
"""

import base64
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import tempfile
import time

ROUNDS = 2
DEPTHS = (1, 16, 64)
BLOCK_BYTES = 4096
READY_SECONDS = 20


def _cpu_seconds(pid):
    """CPU time that a process has used so far, by its CPU-time clock."""
    return time.clock_gettime((~pid << 3) | 2)


@contextlib.contextmanager
def _server(argv):
    """Runs a server, ready, for as long as the context lasts."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        if not process.stdout.readline():
            raise RuntimeError(f"{argv[0]} did not start")
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(READY_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _ghz(ghz, socket, call, message, *options):
    """Sends `message` to `call`, again and again; ghz's report."""
    done = subprocess.run(
        [ghz, "--insecure", f"--call=ramvol.v1.{call}", "--format=json"]
        + [f"--data={json.dumps(message)}", *options, f"unix://{socket}"],
        stdout=subprocess.PIPE,
        check=True,
    )
    report = json.loads(done.stdout)
    if report.get("errorDistribution"):
        raise RuntimeError(f"{call} failed: {report['errorDistribution']}")
    return report


def _fill(ghz, socket):
    """Makes the volume, of one block: ghz is slow at sending changing messages."""
    create = {"name": "ghz", "sizeBytes": BLOCK_BYTES}
    _ghz(ghz, socket, "VolumeService.CreateVolume", create, "-n1", "-c1")
    noise = random.Random(1).randbytes(BLOCK_BYTES // 2)
    data = base64.b64encode(noise + bytes(BLOCK_BYTES // 2)).decode()
    write = {"volume": "ghz", "data": data}
    _ghz(ghz, socket, "BlockService.Write", write, "-n1", "-c1")


def _measure(ghz, socket, pid, depth, seconds):
    read = {"volume": "ghz", "length": BLOCK_BYTES}
    before = _cpu_seconds(pid)
    options = (f"-c{depth}", "--connections=1", f"--duration={seconds}s")
    stop = "--duration-stop=ignore"  # What is under way in the end.
    report = _ghz(ghz, socket, "BlockService.Read", read, *options, stop)
    used = _cpu_seconds(pid) - before
    latency = {
        each["percentage"]: each["latency"] / 1000
        for each in report["latencyDistribution"]
    }
    return {
        "ops_per_s": report["rps"],
        "server_cpu_us_per_op": used / report["count"] * 1e6,
        "p50_us": latency[50],
        "p99_us": latency[99],
    }


def run(ghz_path, ramvold_path, echo_path, seconds):
    """Rows as those of grpc_compare --json; `ratio` is to the bare server.

    `echo_path` is grpc_compare, which serves the bare one.
    """
    rows = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        sockets = {who: os.path.join(folder, who) for who in ("echo", "ramvold")}
        echo = [echo_path, f"--serve_echo=unix:{sockets['echo']}"]
        ramvold = [ramvold_path, f"--listen=unix:{sockets['ramvold']}"]
        pids = {
            "echo": stack.enter_context(_server(echo)),
            "ramvold": stack.enter_context(_server(ramvold + ["--metrics_listen="])),
        }
        _fill(ghz_path, sockets["ramvold"])
        for depth in DEPTHS:
            rounds = {"echo": [], "ramvold": []}
            for _ in range(ROUNDS):
                for who, pid in pids.items():
                    rounds[who].append(
                        _measure(ghz_path, sockets[who], pid, depth, seconds)
                    )
            rows += _rows(depth, rounds)
    return rows


def _rows(depth, rounds):
    medians = {
        who: {
            field: statistics.median(each[field] for each in measured)
            for field in measured[0]
        }
        for who, measured in rounds.items()
    }
    name = f"unary read 4K by ghz, depth {depth}"
    return [
        {
            "name": f"{who} {name}",
            "against": f"echo {name}",
            "ratio": median["ops_per_s"] / medians["echo"]["ops_per_s"],
            **median,
        }
        for who, median in medians.items()
    ]
