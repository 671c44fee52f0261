"""Compares ramvol with nbdkit on this machine: `./dev bench` runs it.

All servers do the same work in turn, over Unix sockets, for clients that are
not ours: fio, nbdcopy, qemu-img. It writes results.json, results.md and plots.
"""

import argparse
import dataclasses
import os
import signal
import sys
import time

import clones
import copies
import figures
import grpc_api
import image
import loads
import machine
import memory
import plan
import plots
import report
import scale
import servers
import vhost
from errors import BenchError
from side_by_side import SideBySide

_NOTES = (
    "Of fio's data, half compresses away; it fills its buffers once and "
    "changes some bytes for each write, so that the client is not the slowest "
    "part. Volumes are filled before they are read or overwritten.",
    "What fio makes, which is random bytes and zeroes in turn, zstd "
    "decompresses some ten times as fast as files; the set of files shows "
    "random reads of what volumes hold in earnest.",
    "Before the cells of each kind of work it runs unmeasured for a moment, so "
    "that caches are as they stay: warm, or full of what is yet to compress.",
    "Server CPU time is that of /proc/PID/stat, of both processes for "
    "ramvol-nbd. What ramvold does in the background meanwhile is in it.",
    "nbdkit null stores nothing: it is what protocol and client cost.",
    "spread: half of what lies between the rounds' extremes.",
)
_SMOKE_NOTE = (
    "This was a smoke run, with sets of some MiB and runs of fractions of a "
    "second: its figures mean nothing."
)


class Run:
    """One run: its settings, and the results so far."""

    def __init__(self, settings, arguments):
        self.plan = settings
        self.arguments = arguments
        self.programs = servers.Programs(
            arguments.ramvold, arguments.ramvol, arguments.ramvol_nbd
        )
        machine.check_programs(self.programs)
        self.factory = servers.Factory(self.programs, settings.memory_limit)
        self.results = {
            "meta": {
                **machine.describe(self.programs),
                "plan": settings.name,
                "rounds": settings.rounds,
            },
            "settings": dataclasses.asdict(settings),
            "rows": [],
            "samples": [],
            "commands": {},
            "notes": list(_NOTES),
        }
        if settings is plan.SMOKE:
            self.note(_SMOKE_NOTE)

    def servers(self, names):
        """Those of the names that this plan compares."""
        return [name for name in names if name in self.plan.servers]

    def add_samples(self, samples):
        self.results["samples"] += samples
        self.results["rows"] += figures.summarise_all(samples)

    def note(self, text):
        if text not in self.results["notes"]:
            self.results["notes"].append(text)

    def image_path(self):
        """The file system image, made once and kept."""
        path, data_bytes = image.cached(
            self.arguments.cache,
            self.plan.image_bytes,
            self.plan.image_data_bytes,
        )
        self.results["image"] = {
            "size_bytes": self.plan.image_bytes,
            "data_bytes": data_bytes,
        }
        return path


def run_fio(run):
    side_by_side = SideBySide(run.plan, run.factory, run.arguments.cache)
    try:
        side_by_side.run()
    finally:
        run.add_samples(side_by_side.samples)
        run.results["commands"].update(side_by_side.commands)


def run_copy(run):
    path = run.image_path()
    data_bytes = run.results["image"]["data_bytes"]
    copying = copies.Copies(run.plan, run.factory, path, data_bytes)
    try:
        copying.run()
    finally:
        run.add_samples(copying.samples)
        for note in copying.notes:
            run.note(note)


def run_memory(run):
    run.results["memory"] = memory.measure(run.plan, run.factory, run.image_path())


def run_clones(run):
    made, missing = clones.run_all(run, run.image_path())
    run.results["clones"] = made
    for note in clones.NOTES:
        run.note(note)
    for way, why in missing.items():
        run.note(f"Clones as {way} could not be had here: {why}")


def run_grpc(run):
    if run.arguments.grpc_compare:
        run.results["grpc"] = grpc_api.run(run.arguments, run.plan.grpc_seconds)


def run_vhost(run):
    lacking = vhost.missing()
    if lacking or not run.arguments.blkio_load:
        run.note(f"vhost-user was not measured: {lacking or 'no --blkio_load'}")
        return
    measured = vhost.VhostUser(run.plan, run.factory, run.arguments.blkio_load)
    try:
        measured.run()
    finally:
        run.add_samples(measured.samples)
        for note in vhost.NOTES:
            run.note(note)


def run_scale(run):
    run.results["scale"] = {}
    for name, part in scale.PARTS.items():
        loads.progress(f"scale: {name}")
        run.results["scale"][name] = part(run)


SECTIONS = {
    "fio": run_fio,
    "vhost": run_vhost,
    "copy": run_copy,
    "memory": run_memory,
    "clones": run_clones,
    "grpc": run_grpc,
    "scale": run_scale,
}


def run_sections(run, names, directory):
    """Runs them in order; what was measured is on disk if one fails."""
    os.makedirs(directory, exist_ok=True)
    run.results["meta"]["section_seconds"] = {}
    for name in names:
        started = time.monotonic()
        try:
            SECTIONS[name](run)
        finally:
            took = time.monotonic() - started
            run.results["meta"]["section_seconds"][name] = round(took)
            run.results["plots"] = plots.draw(run.results, directory)
            report.write(run.results, directory)
        loads.progress(f"{name} took {took:.0f} s")


def _names(text, known):
    names = text.split(",")
    for name in names:
        if name not in known:
            raise BenchError(f'no section "{name}"; there are {", ".join(known)}')
    return [name for name in known if name in names]


def _add_programs(parser):
    programs = parser.add_argument_group("programs, which ./dev bench builds")
    for name in ("ramvold", "ramvol", "ramvol-nbd"):
        programs.add_argument("--" + name, metavar="PATH", default=name)
    programs.add_argument(
        "--grpc_compare",
        metavar="PATH",
        help="//tests/bench:grpc_compare; without it, nothing of gRPC",
    )
    programs.add_argument(
        "--blkio_load",
        metavar="PATH",
        help="//tests/bench:blkio_load; without it, nothing of vhost-user",
    )
    programs.add_argument(
        "--ghz",
        metavar="PATH",
        help="without it, only our own client measures gRPC",
    )
    programs.add_argument(
        "--proto_dirs",
        metavar="DIR:DIR",
        default=":".join(
            os.path.join(os.path.dirname(__file__), "../../..", folder)
            for folder in ("proto", "third_party/googleapis")
        ),
        help="where ramvol/v1/*.proto and google/rpc/*.proto are",
    )


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=__doc__.partition("\n")[0]
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick",
        action="store_const",
        dest="plan",
        const=plan.QUICK,
        help="about 25 minutes instead of over two hours",
    )
    size.add_argument(
        "--smoke",
        action="store_const",
        dest="plan",
        const=plan.SMOKE,
        help="seconds: shows that it runs; its figures mean nothing",
    )
    parser.add_argument(
        "--only",
        metavar="NAME[,NAME]",
        default=",".join(SECTIONS),
        help="some of the sections: " + ", ".join(SECTIONS),
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="print the sections and how long each takes, and run nothing",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        default="bench-results",
        help="where results.json, results.md and plots go (%(default)s)",
    )
    parser.add_argument(
        "--cache",
        metavar="DIR",
        default=os.path.expanduser("~/.cache/ramvol/bench"),
        help="where the file system image is kept (%(default)s)",
    )
    _add_programs(parser)
    parser.set_defaults(plan=plan.FULL)
    return parser.parse_args(argv)


def main(argv):
    arguments = parse_arguments(argv)
    names = _names(arguments.only, SECTIONS)
    if arguments.list:
        for name in names:
            minutes = plan.section_seconds(arguments.plan, name) / 60
            print(f"{name}: about {minutes:.0f} minutes")
        return 0
    machine.check_tools()
    run = Run(arguments.plan, arguments)
    if arguments.plan is not plan.SMOKE:
        machine.check_memory()
    total = sum(plan.section_seconds(arguments.plan, name) for name in names)
    loads.progress(f"{', '.join(names)}: about {total / 60:.0f} minutes")
    run_sections(run, names, arguments.out)
    print(os.path.join(arguments.out, "results.md"))
    return 0


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _interrupt(*_):
    """Ends the run once: a second signal would end its cleaning up."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    # The servers are stopped on the way out.
    for signal_number in _SIGNALS:
        signal.signal(signal_number, _interrupt)
    try:
        sys.exit(main(sys.argv[1:]))
    except BenchError as problem:
        sys.exit(f"bench: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
