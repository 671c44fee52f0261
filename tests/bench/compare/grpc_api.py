"""The gRPC part of the comparison: what grpc_compare and ghz measure.

Rows are objects: {"name", "against", "ops_per_s", "ratio", "p50_us", "p99_us",
"server_cpu_us_per_op"}, where ratio is to the row that `against` names, such as
a bare echo server. targets.py knows two rows by their names.
"""

import json
import os

import ghz
import loads
from errors import BenchError

_SLACK_SECONDS = 300


def parse_rows(text):
    """The rows that grpc_compare printed, after notes that may come first."""
    start = text.find("{")
    try:
        rows = json.loads(text[start:])["rows"]
    except (ValueError, KeyError) as error:
        raise BenchError(f"no rows in: {text[:500]}") from error
    missing = [row for row in rows if "name" not in row]
    if missing:
        raise BenchError(f"rows without a name: {missing}")
    return rows


def run(programs, seconds):
    """All rows. `programs` has paths: ramvold, grpc_compare, ghz or None."""
    compare = programs.grpc_compare
    if not os.access(compare, os.X_OK):
        raise BenchError(f"{compare} is no program; build it, or name another")
    loads.progress("grpc: grpc_compare")
    flags = (f"--ramvold={programs.ramvold}", f"--seconds={seconds}", "--json")
    rows = parse_rows(loads.run_client([compare, *flags], _SLACK_SECONDS))
    if programs.ghz is None:
        return rows
    loads.progress("grpc: ghz")
    return rows + ghz.run(programs.ghz, programs.ramvold, compare, seconds)
