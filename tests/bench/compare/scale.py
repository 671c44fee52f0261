"""How cost grows with volumes, size, connections, cores and time.

Each part gets the run and gives a table, and plots: {"title", "header", "rows",
"plots": {name: {"x", "y", "lines": {label: [(x, y)]}, "log_x"}}}.
"""

import json
import os
import statistics
import sys
import threading
import time

import loads
import machine
import plan
import servers

_READ = "4 KiB rand read"
_WRITE = "4 KiB rand write"


def _label(size):
    for unit, name in ((plan.TIB, "TiB"), (plan.GIB, "GiB"), (plan.MIB, "MiB")):
        if size >= unit:
            return f"{size / unit:,.0f} {name}"
    return f"{size} B"


# --- Volumes ---


def volumes(run):
    """Creates, lists and deletes many empty volumes."""
    count = run.plan.volumes
    with run.factory.make(plan.RAMVOLD, 0) as server:
        script = os.path.join(os.path.dirname(__file__), "many_volumes.py")
        output = loads.run_client(
            [
                *(sys.executable, "-B", script, server.grpc_address),
                *(str(server.main_pid), str(count), run.arguments.proto_dirs),
            ],
            timeout=1800,
        )
    figures = json.loads(output)
    return {
        "title": f"{count:,} volumes",
        "header": (
            "",
            "seconds",
            "µs each",
            "server CPU µs each",
            "resident after, MiB",
            "resident bytes a volume",
        ),
        "rows": [
            _volumes_row(name, phase, count, figures["before"])
            for name, phase in figures["phases"].items()
        ],
        "plots": {
            "volumes": {
                "x": "volumes",
                "y": "resident, MiB",
                "lines": {
                    plan.RAMVOLD: [
                        (number, rss / plan.MIB) for number, rss in figures["curve"]
                    ]
                },
            }
        },
    }


def _volumes_row(name, phase, count, before):
    return (
        name,
        phase["seconds"],
        phase["seconds"] * 1e6 / count,
        phase["cpu_seconds"] * 1e6 / count,
        phase["rss_bytes"] / plan.MIB,
        (phase["rss_bytes"] - before) / count,
    )


# --- Much compressible data ---

# What remains of the data, and how finely it is mixed with what does not.
_COMPRESSIBLE = (
    "--buffer_compress_percentage=98",
    "--buffer_compress_chunk=4096",
)


def compressible(run):
    """One volume with more data than there is memory, in some segments."""
    size = run.plan.compressible_bytes
    limit = int(machine.available_bytes() * 0.7)
    factory = servers.Factory(run.programs, str(limit))
    rows, memory, speed = [], [], []
    segments = run.plan.compressible_segments
    step = size // segments // plan.MIB * plan.MIB
    with factory.make(plan.RAMVOLD, size) as server:
        for segment in range(segments):
            offset = f"--offset={segment * step}"
            sample = loads.fill(server, step, extra=(*_COMPRESSIBLE, offset))
            row = _compressible_row(server, sample, (segment + 1) * step)
            rows.append(row)
            loads.progress(f"{row[0]}: {row[1]:.0f} MiB/s")
            memory.append(((segment + 1) * step / plan.GIB, row[-1]))
            speed.append((memory[-1][0], sample["mib_per_s"]))
    return {
        "title": f"{_label(size)} of highly compressible data",
        "header": (
            "written",
            "MiB/s of the last part",
            "server CPU s",
            "stored MiB",
            "memory MiB",
            "ratio",
            "resident MiB",
        ),
        "rows": rows,
        "plots": {
            "size-memory": {
                "x": "GiB written",
                "y": "resident, MiB",
                "lines": {plan.RAMVOLD: memory},
            },
            "size-speed": {
                "x": "GiB written",
                "y": "MiB a second",
                "lines": {plan.RAMVOLD: speed},
            },
        },
    }


def _compressible_row(server, sample, written):
    stat = server.stat()
    return (
        _label(written),
        sample["mib_per_s"],
        sample["cpu_seconds"],
        int(stat["storedBytes"]) / plan.MIB,
        int(stat["memoryBytes"]) / plan.MIB,
        stat["ratio"],
        server.rss_bytes() / plan.MIB,
    )


# --- Connections ---

_CONNECTION_SERVERS = (
    plan.RAMVOLD,
    plan.BRIDGE,
    plan.NBDKIT_ZSTD,
    plan.NBDKIT_NULL,
)
_CONNECTION_SET = 64 * plan.MIB


def _fill_and_warm(run, server, size):
    """Data everywhere, and caches as they stay under load."""
    loads.fill(server, size)
    for kind in (_WRITE, _READ):
        loads.run_timed(
            *(server, plan.KINDS[kind], size),
            depth=16,
            jobs=1,
            seconds=run.plan.warm_seconds,
            seed=1000,
        )


def _random_pair(run, server, size, depth, jobs):
    """A sample of random reads and one of random writes."""
    return [
        loads.run_timed(
            server,
            plan.KINDS[kind],
            size,
            depth,
            jobs,
            run.plan.scale_seconds,
            seed=jobs,
        )
        for kind in (_READ, _WRITE)
    ]


def _pair_row(label, server, read, write):
    return (
        label,
        read["ops_per_s"],
        read["p99_us"],
        read.get("cpu_us_per_op"),
        write["ops_per_s"],
        write["p99_us"],
        write.get("cpu_us_per_op"),
        server.rss_bytes() / plan.MIB,
    )


_PAIR_HEADER = (
    "",
    "read ops/s",
    "read p99 µs",
    "read CPU µs/op",
    "write ops/s",
    "write p99 µs",
    "write CPU µs/op",
    "resident MiB",
)
# A plot's name, the column of a row that it shows, and what that is.
_PAIR_PLOTS = (
    ("read", 1, "random reads a second"),
    ("write", 4, "random writes a second"),
)


def _pair_plots(prefix, x, points, log_x):
    """Plots over [(server, x, row)]: one of the reads, one of the writes."""
    plots = {}
    for name, column, y in _PAIR_PLOTS:
        lines = {}
        for server, at, row in points:
            lines.setdefault(server, []).append((at, row[column]))
        plots[f"{prefix}-{name}"] = {
            "x": x,
            "y": y,
            "lines": lines,
            "log_x": log_x,
        }
    return plots


def connections(run):
    """Random requests, one under way for each connection."""
    points = []
    for name in run.servers(_CONNECTION_SERVERS):
        server = run.factory.make(name, _CONNECTION_SET, hot_cache=run.plan.hot_cache)
        with server:
            _fill_and_warm(run, server, _CONNECTION_SET)
            for jobs in run.plan.connections:
                read, write = _random_pair(run, server, _CONNECTION_SET, 1, jobs)
                label = f"{name}, {jobs}"
                row = _pair_row(label, server, read, write)
                points.append((name, jobs, row))
                loads.progress(f"connections: {label}: {row[1]:.0f} reads/s")
    return {
        "title": f"Connections, 4 KiB at random over {_label(_CONNECTION_SET)},"
        " depth 1",
        "header": _PAIR_HEADER,
        "rows": [row for _, _, row in points],
        "plots": _pair_plots("connections", "connections", points, log_x=True),
    }


# --- Size of the volume ---

_SPARSE_BYTES = 64 * plan.MIB
# Little, so that most blocks are compressed.
_SPARSE_CACHE = "4M"


def sizes(run):
    """As many random blocks in ever larger volumes."""
    rows, speed, memory = [], {"writes": [], "reads": []}, []
    written = min(_SPARSE_BYTES, run.plan.soak_size)
    blocks = written // (4 * plan.KIB)
    for size in run.plan.volume_sizes:
        server = run.factory.make(plan.RAMVOLD, size, hot_cache=_SPARSE_CACHE)
        with server:
            write, read = [
                loads.run_fio(
                    server,
                    loads.fio_command(
                        *(server.uri, plan.KINDS[kind], size, 16),
                        jobs=1,
                        # The same places are read as were written.
                        seed=7,
                        extra=(f"--io_size={written}",),
                    ),
                    seconds=600,
                )
                for kind in (_WRITE, _READ)
            ]
            bytes_a_block = int(server.stat()["memoryBytes"]) / blocks
        rows.append(
            (_label(size), write["ops_per_s"], read["ops_per_s"], bytes_a_block)
        )
        speed["writes"].append((size / plan.GIB, write["ops_per_s"]))
        speed["reads"].append((size / plan.GIB, read["ops_per_s"]))
        memory.append((size / plan.GIB, bytes_a_block))
    return {
        "title": f"Size of the volume: {blocks:,} random 4 KiB blocks",
        "header": ("", "write ops/s", "read ops/s", "memory bytes a block"),
        "rows": rows,
        "plots": {
            "volume-size-speed": {
                "x": "GiB",
                "y": "operations a second",
                "lines": speed,
                "log_x": True,
            },
            "volume-size-memory": {
                "x": "GiB",
                "y": "bytes a written block",
                "lines": {plan.RAMVOLD: memory},
                "log_x": True,
            },
        },
    }


# --- Cores ---

_CORES_SERVERS = (plan.RAMVOLD, plan.NBDKIT_ZSTD, plan.NBDKIT_NULL)


def core_counts(available):
    """1, 2, 4, ... and all."""
    counts = []
    while (1 << len(counts)) < available:
        counts.append(1 << len(counts))
    return counts + [available]


def cores(run):
    """Servers kept to some cores, clients free."""
    points, size = [], run.plan.soak_size
    for count in core_counts(machine.cores()):
        for name in run.servers(_CORES_SERVERS):
            server = run.factory.make(
                name, size, hot_cache=run.plan.hot_cache, cores=count
            )
            with server:
                _fill_and_warm(run, server, size)
                read, write = _random_pair(run, server, size, 16, 4)
                label = f"{name}, {count}"
                row = _pair_row(label, server, read, write)
                points.append((name, count, row))
                loads.progress(f"cores: {label}: {row[1]:.0f} reads/s")
    return {
        "title": f"Cores, 4 KiB at random over {_label(size)}, 4 connections, depth 16",
        "header": _PAIR_HEADER,
        "rows": [row for _, _, row in points],
        "plots": _pair_plots("cores", "server's cores", points, log_x=False),
    }


# --- Time ---

# Random reads and writes as fast as they go; streams and trims beside them.
_SOAK_JOBS = (
    ("mixed", "--rw=randrw", "--rwmixread=70", "--bs=4k", "--iodepth=16"),
    ("stream", "--rw=write", "--bs=1M", "--iodepth=4", "--rate=50m"),
    ("trim", "--rw=randtrim", "--bs=64k", "--iodepth=1", "--rate_iops=50"),
)
_SOAK_LOOKS = 600


class RssSampler:
    """Looks at a server's memory now and then, in a thread of its own."""

    def __init__(self, server, interval):
        self.points = []
        self._server = server
        self._interval = interval
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def _run(self):
        started = time.monotonic()
        while not self._done.wait(self._interval):
            try:
                rss = self._server.rss_bytes()
            except OSError:
                return  # The server ended; its client says so.
            self.points.append((time.monotonic() - started, rss))


def _soak_command(server, size, seconds):
    argv = [
        *("fio", "--ioengine=nbd", f"--uri={server.uri}", "--thread"),
        *(f"--size={size}", "--time_based", f"--runtime={seconds}"),
        *("--norandommap", "--randrepeat=0", "--randseed=1"),
        "--group_reporting",
        *("--unified_rw_reporting=mixed", "--lat_percentiles=1"),
        *("--clat_percentiles=0", "--percentile_list=50:99:99.9"),
        f"--buffer_compress_percentage={loads.COMPRESSIBLE_PERCENT}",
        *("--output-format=json", "--eta=never"),
    ]
    for name, *flags in _SOAK_JOBS:
        argv += [f"--name={name}", *flags]
    return argv


def quarters(points):
    """The medians of each quarter of the points' time."""
    medians = []
    for quarter in range(4):
        part = points[len(points) * quarter // 4 : len(points) * (quarter + 1) // 4]
        values = [value for _, value in part]
        medians.append(statistics.median(values) if values else 0)
    return medians


def soak(run):
    """Mixed load for long; the memory must stay where it is."""
    seconds, size = run.plan.soak_seconds, run.plan.soak_size
    server = run.factory.make(plan.RAMVOLD, size, hot_cache=run.plan.hot_cache)
    with server:
        loads.fill(server, size)
        with RssSampler(server, max(0.05, seconds / _SOAK_LOOKS)) as sampler:
            sample = loads.run_fio(
                server, _soak_command(server, size, seconds), seconds
            )
    medians = quarters(sampler.points)
    growth = 100 * (medians[3] / medians[1] - 1) if medians[1] else None
    return {
        "title": f"{seconds / 60:.3g} minutes of mixed load",
        "header": (
            "",
            "operations",
            "ops/s",
            "p99 µs",
            *(f"quarter {n}, resident MiB" for n in (1, 2, 3, 4)),
            "last over second, %",
        ),
        "rows": [
            (
                plan.RAMVOLD,
                sample["operations"],
                sample["ops_per_s"],
                sample["p99_us"],
                *(median / plan.MIB for median in medians),
                growth,
            )
        ],
        "plots": {
            "soak": {
                "x": "minutes",
                "y": "resident, MiB",
                "lines": {
                    plan.RAMVOLD: [
                        (at / 60, rss / plan.MIB) for at, rss in sampler.points
                    ]
                },
            }
        },
    }


PARTS = {
    "volumes": volumes,
    "compressible": compressible,
    "connections": connections,
    "sizes": sizes,
    "cores": cores,
    "soak": soak,
}
