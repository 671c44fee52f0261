"""Runs fio's nbd engine against a server and reads fio's report."""

import json
import shlex
import subprocess
import sys

import plan
from errors import BenchError

# Half of each buffer compresses away. fio fills its buffers once and changes
# a few bytes of them for each write: to refill them would make the client, not
# the server, the slowest part. The data is equal for all servers.
COMPRESSIBLE_PERCENT = 50
_FILL_DEPTH = 4
_SLACK_SECONDS = 120


def progress(text):
    print(text, file=sys.stderr, flush=True)


def fio_command(uri, kind, size, depth, jobs, seed, *, extra=()):
    """fio's arguments for one kind of work over the first `size` bytes."""
    if not kind.random and jobs > 1:
        # Each job has its own part, or all would follow the first one.
        size //= jobs
        extra = (*extra, f"--offset_increment={size}")
    return [
        "fio",
        "--name=job",
        "--ioengine=nbd",
        f"--uri={uri}",
        "--thread",
        f"--numjobs={jobs}",
        f"--rw={kind.rw}",
        "--rwmixread=70",
        f"--bs={kind.block_bytes}",
        f"--iodepth={depth}",
        f"--size={size}",
        "--norandommap",
        # Only so does fio heed the seed.
        "--randrepeat=0",
        f"--randseed={seed}",
        f"--buffer_compress_percentage={COMPRESSIBLE_PERCENT}",
        "--group_reporting",
        "--unified_rw_reporting=mixed",
        "--clat_percentiles=0",
        "--lat_percentiles=1",
        "--percentile_list=50:99:99.9",
        "--output-format=json",
        "--eta=never",
        *extra,
    ]


def parse_fio(text):
    """What fio's JSON says of its first group of jobs, in our words."""
    start = text.find("\n{")
    start = 0 if text.startswith("{") else start
    if start < 0:
        raise BenchError(f"fio printed no JSON but: {text[:500]}")
    jobs = json.loads(text[start:])["jobs"]
    for job in jobs:
        if job["error"]:
            raise BenchError(f"fio failed with error {job['error']}")
    io = jobs[0]["mixed"]
    percentiles = {
        float(name): nanoseconds / 1000
        for name, nanoseconds in io["lat_ns"].get("percentile", {}).items()
    }
    return {
        "operations": io["total_ios"],
        "ops_per_s": io["iops"],
        "mib_per_s": io["bw_bytes"] / plan.MIB,
        "p50_us": percentiles.get(50.0),
        "p99_us": percentiles.get(99.0),
        "p999_us": percentiles.get(99.9),
    }


def run_client(argv, timeout, **options):
    """Runs a client's command to its end; what it printed."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **options,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(
            f"{shlex.join(argv)} took longer than {timeout:.0f} s"
        ) from error
    if done.returncode:
        raise BenchError(
            f"{shlex.join(argv)} ended with {done.returncode}: "
            f"{done.stderr.strip()[-1000:]} {done.stdout.strip()[:500]}"
        )
    return done.stdout


def run_fio(server, argv, seconds):
    """fio's sample, with the server's CPU time beside it."""
    before = server.cpu_seconds()
    # fio leaves files in the folder that it runs in.
    sample = parse_fio(run_client(argv, seconds + _SLACK_SECONDS, cwd=server.directory))
    used = server.cpu_seconds() - before
    sample["cpu_seconds"] = used
    if sample["operations"]:
        sample["cpu_us_per_op"] = used * 1e6 / sample["operations"]
    sample["command"] = server.shown(argv)
    return sample


def run_timed(server, kind, size, depth, jobs, seconds, seed):
    """Runs one kind of work for some seconds."""
    extra = ("--time_based", f"--runtime={int(seconds * 1000)}ms")
    argv = fio_command(server.uri, kind, size, depth, jobs, seed, extra=extra)
    return run_fio(server, argv, seconds)


def fill(server, size, *, extra=()):
    """Writes `size` bytes once, with fresh data everywhere."""
    argv = fio_command(
        server.uri,
        plan.KINDS["1 MiB seq write"],
        size,
        _FILL_DEPTH,
        jobs=1,
        seed=1,
        extra=("--refill_buffers", *extra),
    )
    return run_fio(server, argv, seconds=3600)
