"""How much is run: the settings of a full, a quick and a smoke run."""

import dataclasses

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

RAMVOLD = "ramvold"
BRIDGE = "ramvol-nbd"
NBDKIT_ZSTD = "nbdkit zstd"
NBDKIT_SPARSE = "nbdkit sparse"
NBDKIT_MALLOC = "nbdkit malloc"
NBDKIT_NULL = "nbdkit null"
SERVERS = (
    RAMVOLD,
    BRIDGE,
    NBDKIT_ZSTD,
    NBDKIT_SPARSE,
    NBDKIT_MALLOC,
    NBDKIT_NULL,
)
OURS = (RAMVOLD, BRIDGE)

# The working sets: one that fits ramvold's hot cache, one that does not.
IN_CACHE = "in cache"
LARGE = "1 GiB"
# The second with bytes of real files. What fio makes is decompressed some ten
# times as fast as these.
FILES = "1 GiB of files"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A pattern of access, in fio's words."""

    rw: str
    block_bytes: int

    @property
    def writes(self):
        return self.rw in ("write", "randwrite")

    @property
    def random(self):
        return self.rw.startswith("rand")


KINDS = {
    "1 MiB seq read": Kind("read", MIB),
    "4 KiB seq read": Kind("read", 4 * KIB),
    "4 KiB rand read": Kind("randread", 4 * KIB),
    "1 MiB seq write": Kind("write", MIB),
    "4 KiB seq write": Kind("write", 4 * KIB),
    "4 KiB rand write": Kind("randwrite", 4 * KIB),
    "4 KiB rand 70/30": Kind("randrw", 4 * KIB),
}
# Reads come first, on data as it was filled in.
READS = ("1 MiB seq read", "4 KiB seq read", "4 KiB rand read")
SEQUENTIAL_WRITES = ("1 MiB seq write", "4 KiB seq write")
RANDOM_WRITES = ("4 KiB rand write", "4 KiB rand 70/30")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One fio run: a kind, requests under way a job, jobs, and who runs it."""

    kind: str
    depth: int = 16
    jobs: int = 1
    servers: tuple = SERVERS


@dataclasses.dataclass(frozen=True)
class Session:
    """Cells that share one fresh server, filled once before them."""

    set_name: str
    size: int
    cells: tuple
    # Whether it is filled with real files, not with what fio makes.
    files: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
    name: str
    servers: tuple
    # fio: rounds of A B A B, one run's time, and the time of an unmeasured run
    # of the same kind before it.
    rounds: int
    run_seconds: float
    warm_seconds: float
    sessions: tuple
    memory_limit: str
    hot_cache: str
    # Copies of a file system image.
    image_bytes: int
    image_data_bytes: int
    copy_rounds: int
    # Memory over that image: rest, then look again.
    rest_seconds: int
    distant_regions: int
    vhost_rounds: int
    vhost_sets: tuple
    # Clones of that image.
    clones: int
    clone_rounds: int
    # Scale.
    volumes: int
    compressible_bytes: int
    compressible_segments: int
    connections: tuple
    volume_sizes: tuple
    scale_seconds: float
    soak_seconds: int
    soak_size: int
    grpc_seconds: float


def _cells(kinds, shapes, servers=SERVERS):
    return tuple(
        Cell(kind, depth, jobs, servers) for kind in kinds for depth, jobs in shapes
    )


# The bridge is compared with the listener in process at this depth.
BRIDGE_DEPTH = 32
_BRIDGE_SHAPE = ((BRIDGE_DEPTH, 1),)
_TAIL_SHAPES = ((1, 8), (16, 8))


def _full_sessions():
    shapes = ((1, 1), (16, 1), (64, 1), (1, 4), (16, 4))
    sessions = []
    for set_name, size in ((IN_CACHE, 64 * MIB), (LARGE, GIB)):
        reads = _cells(READS, shapes) + _cells(
            ("4 KiB rand read",), _BRIDGE_SHAPE, OURS
        )
        writes = (
            _cells(SEQUENTIAL_WRITES, shapes)
            + _cells(("4 KiB rand write",), shapes + _TAIL_SHAPES)
            + _cells(("4 KiB rand write",), _BRIDGE_SHAPE, OURS)
            + _cells(("4 KiB rand 70/30",), shapes)
        )
        sessions.append(Session(set_name, size, reads))
        sessions.append(Session(set_name, size, writes))
    random_reads = _cells(("4 KiB rand read",), shapes)
    sessions.append(Session(FILES, GIB, random_reads, files=True))
    return tuple(sessions)


# In a quick run, only these show how depth matters.
_QUICK_PEERS = (RAMVOLD, BRIDGE, NBDKIT_ZSTD, NBDKIT_NULL)


def _quick_sessions():
    one, other_depths = ((16, 1),), ((1, 1), (64, 1))
    cache_cells = (
        _cells(("4 KiB rand read",), one)
        + _cells(("4 KiB rand read",), other_depths, _QUICK_PEERS)
        + _cells(("4 KiB rand read",), _BRIDGE_SHAPE, OURS)
        + _cells(("4 KiB rand write",), one)
        + _cells(("4 KiB rand write",), other_depths, _QUICK_PEERS)
        + _cells(("4 KiB rand write",), _BRIDGE_SHAPE, OURS)
        + _cells(("4 KiB rand 70/30",), one)
    )
    large_cells = (
        _cells(READS, one)
        + _cells(("4 KiB rand read",), other_depths + ((16, 4),), _QUICK_PEERS)
        + _cells(("4 KiB rand read",), _BRIDGE_SHAPE, OURS)
        + _cells(SEQUENTIAL_WRITES, one)
        + _cells(("4 KiB rand write",), one)
        + _cells(
            ("4 KiB rand write",),
            other_depths + ((16, 4),) + _TAIL_SHAPES,
            _QUICK_PEERS,
        )
        + _cells(("4 KiB rand write",), _BRIDGE_SHAPE, OURS)
        + _cells(("4 KiB rand 70/30",), one)
    )
    files_cells = _cells(("4 KiB rand read",), ((16, 1), (16, 4)), _QUICK_PEERS)
    return (
        Session(IN_CACHE, 64 * MIB, cache_cells),
        Session(LARGE, GIB, large_cells),
        Session(FILES, GIB, files_cells, files=True),
    )


def _smoke_sessions():
    return (
        Session(
            IN_CACHE,
            4 * MIB,
            _cells(
                ("4 KiB rand read", "4 KiB rand write"),
                ((16, 1),),
                (RAMVOLD, NBDKIT_ZSTD),
            ),
        ),
        Session(
            LARGE,
            16 * MIB,
            _cells(("1 MiB seq read", "4 KiB rand 70/30"), ((4, 2),), OURS),
        ),
        Session(
            FILES,
            4 * MIB,
            _cells(("4 KiB rand read",), ((16, 1),), (RAMVOLD,)),
            files=True,
        ),
    )


FULL = Plan(
    name="full",
    servers=SERVERS,
    rounds=3,
    run_seconds=1.5,
    warm_seconds=1.5,
    sessions=_full_sessions(),
    memory_limit="4G",
    hot_cache="256M",
    image_bytes=3 * GIB,
    image_data_bytes=1400 * MIB,
    copy_rounds=3,
    rest_seconds=60,
    distant_regions=1024,
    vhost_rounds=3,
    vhost_sets=((IN_CACHE, 64 * MIB), (LARGE, GIB)),
    clones=1000,
    clone_rounds=3,
    volumes=10_000,
    compressible_bytes=100 * GIB,
    compressible_segments=10,
    connections=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    volume_sizes=(GIB, 16 * GIB, TIB, 64 * TIB, 1024 * TIB),
    scale_seconds=3,
    soak_seconds=3600,
    soak_size=GIB,
    grpc_seconds=3,
)

QUICK = dataclasses.replace(
    FULL,
    name="quick",
    rounds=2,
    run_seconds=0.7,
    warm_seconds=0.5,
    sessions=_quick_sessions(),
    copy_rounds=2,
    vhost_rounds=1,
    clone_rounds=1,
    compressible_bytes=4 * GIB,
    connections=(1, 4, 16, 64, 256),
    volume_sizes=(GIB, TIB, 1024 * TIB),
    scale_seconds=0.8,
    soak_seconds=300,
    grpc_seconds=1,
)

SMOKE = dataclasses.replace(
    QUICK,
    name="smoke",
    servers=(RAMVOLD, BRIDGE, NBDKIT_ZSTD),
    rounds=1,
    run_seconds=0.2,
    warm_seconds=0.1,
    sessions=_smoke_sessions(),
    memory_limit="256M",
    hot_cache="16M",
    image_bytes=32 * MIB,
    image_data_bytes=8 * MIB,
    copy_rounds=1,
    vhost_sets=((IN_CACHE, 4 * MIB),),
    rest_seconds=0,
    distant_regions=16,
    clones=10,
    volumes=50,
    compressible_bytes=64 * MIB,
    compressible_segments=2,
    connections=(8,),
    volume_sizes=(1024 * TIB,),
    scale_seconds=0.2,
    soak_seconds=1,
    soak_size=16 * MIB,
    grpc_seconds=0.1,
)

PLANS = {plan.name: plan for plan in (FULL, QUICK, SMOKE)}


def cells_of(session, server):
    return [cell for cell in session.cells if server in cell.servers]


# --- How long it takes, roughly ---

# What fio takes beyond its run, and a server to start and stop.
_FIO_OVERHEAD_SECONDS = 0.35
_SERVER_SECONDS = 0.5
_FILL_BYTES_PER_SECOND = 350 * MIB
# A copy's data a second, averaged over the servers; six copies a server.
_COPY_BYTES_PER_SECOND = 400 * MIB
_COPIES = 6


def _session_seconds(plan, session, server):
    cells = cells_of(session, server)
    if not cells:
        return 0
    kinds = len({cell.kind for cell in cells})
    run = plan.run_seconds + _FIO_OVERHEAD_SECONDS
    warm = plan.warm_seconds + _FIO_OVERHEAD_SECONDS
    filling = session.size / _FILL_BYTES_PER_SECOND + _SERVER_SECONDS
    return len(cells) * run + kinds * warm + filling


def _fio_seconds(plan):
    return plan.rounds * sum(
        _session_seconds(plan, session, server)
        for session in plan.sessions
        for server in plan.servers
    )


def _copy_seconds(plan):
    one = plan.image_data_bytes / _COPY_BYTES_PER_SECOND + _SERVER_SECONDS
    return plan.copy_rounds * len(plan.servers) * _COPIES * one


def _memory_seconds(plan):
    return 2 * (plan.rest_seconds + plan.image_data_bytes / (100 * MIB) + 5)


# To bring the image to each of the four, and to start two processes for each clone
# of one of them; the others take a moment.
_CLONE_SECONDS = 0.02
_CLONED_COPIES = 4


def _clones_seconds(plan):
    copying = plan.image_data_bytes / _COPY_BYTES_PER_SECOND + _SERVER_SECONDS
    return plan.clone_rounds * (_CLONED_COPIES * copying + plan.clones * _CLONE_SECONDS)


# A run has a trial before it; ramvold is reached in three ways, the others in two.
_VHOST_WAYS = 7
_VHOST_CELLS = 6


def _vhost_seconds(plan):
    cell = 1.5 * plan.run_seconds + _FIO_OVERHEAD_SECONDS
    return plan.vhost_rounds * sum(
        _VHOST_WAYS * _VHOST_CELLS * cell
        + 2 * size / _FILL_BYTES_PER_SECOND
        + 3 * _SERVER_SECONDS
        for _, size in plan.vhost_sets
    )


def _scale_seconds(plan):
    run = plan.scale_seconds + _FIO_OVERHEAD_SECONDS + _SERVER_SECONDS
    runs = 8 * len(plan.connections) + 4 * len(plan.volume_sizes) + 24
    filling = plan.compressible_bytes / (600 * MIB)
    return plan.soak_seconds + runs * run + filling + plan.volumes / 300


def section_seconds(plan, name):
    return {
        "fio": _fio_seconds,
        "copy": _copy_seconds,
        "memory": _memory_seconds,
        "clones": _clones_seconds,
        "scale": _scale_seconds,
        "vhost": _vhost_seconds,
        "grpc": lambda plan: 80 * plan.grpc_seconds,
    }[name](plan)
