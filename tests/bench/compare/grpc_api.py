"""The gRPC part of the comparison: our benchmark binaries, which print JSON.

A binary is called with --seconds=S, how long to measure for each row, and
prints one object, {"rows": [{"name", "ops_per_s", "ratio", "p50_us",
"p99_us", "server_cpu_us_per_op"}]}, where ratio is to the row's own peer, such
as a bare echo server. targets.py knows two rows by their names.
"""

import json
import os

import loads
from errors import BenchError

_SLACK_SECONDS = 300


def parse_rows(text):
    """The rows that a binary printed, after notes that it may have printed."""
    start = text.find("{")
    try:
        rows = json.loads(text[start:])["rows"]
    except (ValueError, KeyError) as error:
        raise BenchError(f"no rows in: {text[:500]}") from error
    missing = [row for row in rows if "name" not in row]
    if missing:
        raise BenchError(f"rows without a name: {missing}")
    return rows


def run_binary(path, *flags):
    """Runs a benchmark of the gRPC API; its rows."""
    if not os.access(path, os.X_OK):
        raise BenchError(f"{path} is no program; build it, or name another")
    loads.progress(f"grpc: {os.path.basename(path)}")
    return parse_rows(loads.run_client([path, *flags], _SLACK_SECONDS))


def run(binaries, seconds):
    """The rows of all binaries, each given as a path."""
    return [
        row
        for path in binaries
        for row in run_binary(path, f"--seconds={seconds}")
    ]
