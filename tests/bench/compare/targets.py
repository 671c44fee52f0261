"""The targets, and from which figures of a run each is computed."""

import dataclasses
import typing

import figures
import plan
import vhost

# Where a target names no depth.
DEPTH = 16


@dataclasses.dataclass(frozen=True)
class Target:
    """A bound on a figure, computed from a run's results; None: unmeasured."""

    work: str
    bound: float
    figure: typing.Callable
    # Whether the figure must be at least the bound, or at most.
    at_least: bool = True
    # Whose figure ours is divided by; or in what the figure is.
    against: str = ""
    unit: str = ""

    @property
    def text(self):
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.bound:g} {self.unit or 'x ' + self.against}"

    def reached(self, value):
        if value is None:
            return None
        return value >= self.bound if self.at_least else value <= self.bound


def _fio(results, server, kind, measure="ops_per_s", **wanted):
    wanted = {"set": plan.LARGE, "depth": DEPTH, "jobs": 1, **wanted}
    return figures.value(
        results["rows"],
        measure,
        section="fio",
        kind=kind,
        server=server,
        **wanted,
    )


def _speed(kind, peer, server=plan.RAMVOLD, **wanted):
    """How many times as many operations a second as the peer's."""
    return lambda results: figures.ratio(
        _fio(results, server, kind, **wanted),
        _fio(results, peer, kind, **wanted),
    )


def _scaling(kind, **wanted):
    """Our four connections against one."""
    return lambda results: figures.ratio(
        _fio(results, plan.RAMVOLD, kind, jobs=4, **wanted),
        _fio(results, plan.RAMVOLD, kind, **wanted),
    )


def _tail(depth):
    """Our p99 with eight jobs, as a part of the peer's."""
    wanted = {"measure": "p99_us", "depth": depth, "jobs": 8}
    kind = "4 KiB rand write"
    return lambda results: figures.ratio(
        _fio(results, plan.RAMVOLD, kind, **wanted),
        _fio(results, plan.NBDKIT_ZSTD, kind, **wanted),
    )


def _vhost(kind, way, peer, depth, measure="ops_per_s", **wanted):
    """One way of vhost-user against another way, or alone."""
    wanted = {"set": plan.IN_CACHE, **wanted}

    def value(results, server):
        return figures.value(
            *(results["rows"], measure),
            **{"section": "vhost", "kind": kind, "depth": depth, "server": server},
            **wanted,
        )

    if peer is None:
        return lambda results: value(results, way)
    return lambda results: figures.ratio(value(results, way), value(results, peer))


def _vhost_targets():
    """Of the same client, qemu-img bench."""
    large = {"set": plan.LARGE}
    for kind, name, bounds in (
        (vhost.READ, "read", (3, 4, 4)),
        (vhost.WRITE, "write", (2.5, 2.5, 2.5)),
    ):
        for depth, bound in zip(vhost.DEPTHS, bounds, strict=True):
            yield Target(
                f"vhost-user, 4 KiB random {name} in the cache, depth {depth}",
                bound,
                _vhost(kind, vhost.OURS, vhost.NBD, depth),
                against="NBD",
            )
    for kind, name in ((vhost.READ, "read"), (vhost.WRITE, "write")):
        yield Target(
            f"vhost-user, 4 KiB random {name} over 1 GiB, depth {DEPTH}",
            1.5,
            _vhost(kind, vhost.OURS, vhost.NBD, DEPTH, **large),
            against="NBD",
        )
    yield Target(
        f"vhost-user, server CPU of a 4 KiB read in the cache, depth {DEPTH}",
        1.5,
        _vhost(vhost.READ, vhost.OURS, None, DEPTH, "cpu_us_per_op"),
        at_least=False,
        unit="µs",
    )
    for peer, name, bound in (
        (vhost.FILE, "qemu-storage-daemon, RAM file", 2),
        (vhost.NULL, "qemu-storage-daemon, null-co", 1),
    ):
        yield Target(
            f"vhost-user, 4 KiB random read in the cache, depth {DEPTH}",
            bound,
            _vhost(vhost.READ, vhost.OURS, peer, DEPTH),
            against=name,
        )


def _copy(kind):
    """How many times as fast as the peer."""

    def seconds(results, server):
        return figures.value(
            results["rows"],
            "seconds",
            section="copy",
            kind=kind,
            server=server,
        )

    return lambda results: figures.ratio(
        seconds(results, plan.NBDKIT_ZSTD), seconds(results, plan.RAMVOLD)
    )


def _memory(results, server, field):
    return results.get("memory", {}).get(server, {}).get(field)


def _resident(field):
    """Our memory over the image, as a part of the peer's."""
    return lambda results: figures.ratio(
        _memory(results, plan.RAMVOLD, field),
        _memory(results, plan.NBDKIT_ZSTD, field),
    )


def _left_after_trim(results):
    return figures.ratio(
        _memory(results, plan.RAMVOLD, "rss_trimmed_bytes"),
        _memory(results, plan.RAMVOLD, "rss_before_trim_bytes"),
    )


def _clones(figure):
    def of_ours(results):
        made = results.get("clones", {}).get(plan.RAMVOLD)
        return figure(made) if made else None

    return of_ours


def _grpc(name):
    return lambda results: figures.value(results.get("grpc", []), "ratio", name=name)


# Names of rows in the report of //tests/bench:grpc_compare.
GRPC_UNARY_ROW = "ramvold unary read 4K, depth 16"
GRPC_IO_ROW = "ramvold Io read 4K, depth 64"

_ZSTD = plan.NBDKIT_ZSTD
_BRIDGED = {"server": plan.BRIDGE, "depth": plan.BRIDGE_DEPTH}

TARGETS = (
    Target(
        "4 KiB random write, in the cache",
        8,
        _speed("4 KiB rand write", _ZSTD, set=plan.IN_CACHE),
        against=_ZSTD,
    ),
    Target(
        "4 KiB random write, in the cache",
        0.9,
        _speed("4 KiB rand write", plan.NBDKIT_NULL, set=plan.IN_CACHE),
        against=plan.NBDKIT_NULL,
    ),
    Target(
        "4 KiB random write over 1 GiB",
        5,
        _speed("4 KiB rand write", _ZSTD),
        against=_ZSTD,
    ),
    Target(
        "4 KiB random read over 1 GiB",
        1.5,
        _speed("4 KiB rand read", _ZSTD),
        against=_ZSTD,
    ),
    Target(
        "4 KiB random read over 1 GiB of files",
        1.5,
        _speed("4 KiB rand read", _ZSTD, set=plan.FILES),
        against=_ZSTD,
    ),
    Target(
        "4 KiB random read in the cache",
        1.2,
        _speed("4 KiB rand read", plan.NBDKIT_SPARSE, set=plan.IN_CACHE),
        against=plan.NBDKIT_SPARSE,
    ),
    Target(
        "4 KiB sequential write",
        5,
        _speed("4 KiB seq write", _ZSTD),
        against=_ZSTD,
    ),
    Target(
        "1 MiB sequential write",
        1.5,
        _speed("1 MiB seq write", _ZSTD),
        against=_ZSTD,
    ),
    Target(
        "1 MiB sequential read",
        1.3,
        _speed("1 MiB seq read", _ZSTD),
        against=_ZSTD,
    ),
    Target(
        "4 connections, random read over 1 GiB",
        1.3,
        _scaling("4 KiB rand read"),
        against="1 connection",
    ),
    Target(
        "4 connections, random read over 1 GiB of files",
        1.3,
        _scaling("4 KiB rand read", set=plan.FILES),
        against="1 connection",
    ),
    Target(
        "4 connections, random write over 1 GiB",
        1.3,
        _scaling("4 KiB rand write"),
        against="1 connection",
    ),
    Target(
        "p99 of 4 KiB random write, 8 jobs, depth 1",
        0.2,
        _tail(1),
        at_least=False,
        against=_ZSTD,
    ),
    Target(
        "p99 of 4 KiB random write, 8 jobs, depth 16",
        0.2,
        _tail(16),
        at_least=False,
        against=_ZSTD,
    ),
    Target(
        "nbdcopy of a real image in",
        1.7,
        _copy("nbdcopy in"),
        against=_ZSTD,
    ),
    Target(
        "nbdcopy of a real image out",
        1.5,
        _copy("nbdcopy out"),
        against=_ZSTD,
    ),
    Target(
        "resident memory over that image, at once",
        1.08,
        _resident("rss_filled_bytes"),
        at_least=False,
        against=_ZSTD,
    ),
    Target(
        "resident memory over that image, after a rest",
        0.95,
        _resident("rss_rested_bytes"),
        at_least=False,
        against=_ZSTD,
    ),
    Target(
        "resident memory after trimming everything",
        0.1,
        _left_after_trim,
        at_least=False,
        against="before",
    ),
    Target(
        "1,000 clones of that image, by one client",
        1,
        _clones(lambda made: made["clone_seconds"] * 1000 / made["count"]),
        at_least=False,
        unit="s",
    ),
    Target(
        "memory for each",
        10,
        _clones(lambda made: made["clone_bytes"]["counted"] / plan.KIB),
        at_least=False,
        unit="KiB",
    ),
    Target(
        "memory for each that wrote 4 KiB",
        20,
        _clones(lambda made: made["written_bytes"]["counted"] / plan.KIB),
        at_least=False,
        unit="KiB",
    ),
    Target(
        "unary 4 KiB Read",
        0.85,
        _grpc(GRPC_UNARY_ROW),
        against="bare gRPC echo",
    ),
    Target("Io 4 KiB reads", 5, _grpc(GRPC_IO_ROW), against="unary"),
    Target(
        "ramvol-nbd, 4 KiB random read, depth 32",
        0.5,
        _speed("4 KiB rand read", plan.RAMVOLD, **_BRIDGED),
        against="in process",
    ),
    Target(
        "ramvol-nbd, 4 KiB random write, depth 32",
        0.5,
        _speed("4 KiB rand write", plan.RAMVOLD, **_BRIDGED),
        against="in process",
    ),
    *_vhost_targets(),
)


def evaluate(results):
    """A row for each target."""
    rows = []
    for target in TARGETS:
        value = target.figure(results)
        rows.append(
            {
                "work": target.work,
                "target": target.text,
                "measured": value,
                "reached": target.reached(value),
            }
        )
    return rows
