#!/usr/bin/python3 -B
"""A property test over the whole server: `./dev soak` runs it for hours.

A round has servers of its own, and ends with its seconds or with the first promise
that is broken, as then do all. It prints its seed, which --seed replays, as far as
threads allow it.
"""

import argparse
import copy
import itertools
import os
import random
import sys
import tempfile
import time
import traceback

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [_HERE, os.path.join(_HERE, "..", "integration")]

import api
import clients
import full
import report
from programs import Servers
from record import Record

SCENARIOS = {"clients": clients.run, "full": full.run}
MEMORY_LIMITS = ["48M", "64M", "96M", "128M", "256M"]
MERGE_INTERVALS = ["50ms", "200ms", "1s", "5s"]
# No round is shorter, save by --seconds.
LEAST_SECONDS = 30


def size_of(text):
    """Bytes of a size such as 64M."""
    return int(text[:-1]) << {"K": 10, "M": 20, "G": 30}[text[-1]]


def parse_flags():
    parser = argparse.ArgumentParser("soak", description=__doc__)
    parser.add_argument("--ramvold", required=True, help="the program under test")
    parser.add_argument("--ramvol", required=True, help="the command line")
    parser.add_argument("--bridge", required=True, help="ramvol-nbd")
    parser.add_argument("--proto_dir", default="proto")
    parser.add_argument("--googleapis_dir", default="third_party/googleapis")
    parser.add_argument(
        "--out",
        metavar="DIR",
        default=os.environ.get("TEST_UNDECLARED_OUTPUTS_DIR", "soak-results"),
        help="where the table, the plot and the servers' logs go (%(default)s)",
    )
    parser.add_argument(
        "--scenario",
        choices=SCENARIOS,
        default="clients",
        help="clients: honest and hostile ones at once; full: filled by fio, "
        "then left alone",
    )
    parser.add_argument(
        "--seed", type=int, help="the first round's, each has one more than the last"
    )
    parser.add_argument(
        "--hours", type=float, default=0, help="for so long, but at least a round"
    )
    parser.add_argument("--seconds", type=float, default=300, help="of a round")
    parser.add_argument("--fill_seconds", type=float, default=40)
    parser.add_argument("--memory_limit", help="such as 64M; else by the seed")
    parser.add_argument("--merge_interval", help="such as 1s; else by the seed")
    parser.add_argument("--honest", type=int, default=6, help="how many")
    parser.add_argument("--hostile", type=int, default=10, help="how many at once")
    parser.add_argument(
        "--attacks", nargs="*", default=[], help="only these, see hostile.py"
    )
    settings = parser.parse_args()
    if settings.seed is None:
        settings.seed = random.SystemRandom().randrange(1 << 32)
    return settings


def of_round(settings, number, seconds):
    """The settings of a round: what was not given follows from its seed."""
    out = copy.copy(settings)
    out.seed = settings.seed + number
    out.seconds = seconds
    rng = random.Random(f"settings {out.seed}")
    limit, interval = rng.choice(MEMORY_LIMITS), rng.choice(MERGE_INTERVALS)
    out.memory_limit = settings.memory_limit or limit
    out.merge_interval = settings.merge_interval or interval
    out.limit_bytes = size_of(out.memory_limit)
    return out


def run_round(settings, sheet):
    """What was seen."""
    print(
        f"--seed={settings.seed} --memory_limit={settings.memory_limit} "
        f"--merge_interval={settings.merge_interval}",
        flush=True,
    )
    record = Record()
    sheet.begin(settings.seed)
    try:
        flags = [f"--merge_interval={settings.merge_interval}"]
        servers = Servers(settings, settings.memory_limit, flags)
        try:
            SCENARIOS[settings.scenario](settings, servers, record, sheet)
            servers.stop()
        except BaseException:
            servers.kill()
            raise
    except Exception:
        record.violated("the servers start, answer and stop", traceback.format_exc())
    record.tell()
    return record


def run_rounds(settings, sheet, held):
    """Adds to `held` the seeds of rounds that held; that of one that did not, or
    None."""
    end = time.monotonic() + settings.hours * 3600
    for number in itertools.count():
        seconds = settings.seconds
        if number > 0:
            seconds = min(seconds, end - time.monotonic())
            if seconds < LEAST_SECONDS:
                return None
        this = of_round(settings, number, seconds)
        if run_round(this, sheet).violations:
            return this.seed
        held.append(this.seed)


def main():
    settings = parse_flags()
    os.makedirs(settings.out, exist_ok=True)
    table = os.path.join(settings.out, "soak.csv")
    sheet = report.Sheet(table)
    held, broken = [], None
    with tempfile.TemporaryDirectory() as generated:
        api.load(settings.proto_dir, settings.googleapis_dir, generated)
        # Matplotlib's cache, where home cannot be written.
        os.environ.setdefault("MPLCONFIGDIR", generated)
        try:
            broken = run_rounds(settings, sheet, held)
        except KeyboardInterrupt:
            print("interrupted")
        sheet.close()
        told = f"soak: {len(held)} rounds held"
        if broken is not None:
            told += f", --seed={broken} broke a promise"
        report.plot(table, os.path.join(settings.out, "soak.svg"), told)
    print(f"{told}; soak.csv, soak.svg and logs are in {os.path.abspath(settings.out)}")
    return 0 if broken is None else 1


if __name__ == "__main__":
    sys.exit(main())
