"""The overview of all servers."""

from dashboard import dashboard, variable
from panels import (
    OF_INSTANCE,
    OF_OP,
    graph,
    heatmap,
    hit_rate,
    latencies,
    process_panels,
    quantiles,
    row,
    snapshots_table,
    stat,
    throughput,
    total_rate,
    volumes_table,
)

USED = "ramvol_memory_used_bytes" + OF_INSTANCE
LIMIT = "ramvol_memory_limit_bytes" + OF_INSTANCE
ERRORS = "ramvol_volume_errors_total" + OF_INSTANCE
OPERATIONS = "ramvol_operation_duration_seconds"
VHOST_DURATION = "ramvol_vhost_user_request_duration_seconds"


def memory_at_a_glance():
    return [
        stat(
            "Servers",
            "Processes of ramvold that Prometheus scrapes.",
            "none",
            f"count({LIMIT})",
        ),
        stat(
            "Memory used",
            "Share of --memory_limit on the fullest server. At 100%, writes fail; "
            "reads and trims still work.",
            "percentunit",
            f"max({USED} / {LIMIT})",
            [(0.8, "yellow"), (0.9, "red")],
            decimals=1,
        ),
        stat(
            "Full in",
            "When the first server reaches its limit if memory grows as in the last "
            "half hour. 4 weeks means 4 weeks or longer.",
            "dtdurations",
            f"min(clamp_max(({LIMIT} - {USED}) / clamp_min(deriv(ramvol_memory_used_bytes"
            f"{OF_INSTANCE}[30m]), 1), 28 * 86400))",
            [(0, "red"), (4 * 3600, "yellow"), (24 * 3600, "green")],
            decimals=1,
        ),
        stat(
            "Ratio",
            "Bytes written and not trimmed, divided by the memory that they take, "
            "including all overhead.",
            "none",
            f"sum(ramvol_volume_logical_bytes{OF_INSTANCE})"
            f" / sum(ramvol_volume_memory_bytes{OF_INSTANCE})",
            decimals=2,
        ),
    ]


def load_at_a_glance():
    return [
        stat(
            "Volumes",
            "Number of volumes.",
            "none",
            f"sum(ramvol_volumes{OF_INSTANCE})",
        ),
        stat(
            "Operations",
            "Reads, writes, trims and other operations per second, over gRPC and NBD.",
            "ops",
            total_rate(f"{OPERATIONS}_count{OF_INSTANCE}"),
        ),
        stat(
            "Errors",
            "Failed operations on volumes per second, for any reason.",
            "ops",
            f"{total_rate(ERRORS)} or sum(0 * ramvol_volumes{OF_INSTANCE})",
            [(0.001, "yellow"), (1, "red")],
            decimals=1,
        ),
        stat(
            "Damaged frames",
            "Frames that failed their checksum since the servers started. Their data "
            "is lost.",
            "none",
            f"sum(ramvol_corrupt_frames_total{OF_INSTANCE})",
            [(1, "red")],
        ),
    ]


def memory_against_the_limit():
    return graph(
        "Memory against the limit",
        "Used: counted against --memory_limit. Allocated: the part of it in live "
        "objects. Resident: the whole process, as the kernel counts it.",
        "bytes",
        [
            (LIMIT, "{{instance}} limit"),
            (USED, "{{instance}} used"),
            (
                f"ramvol_memory_allocated_bytes{OF_INSTANCE}",
                "{{instance}} allocated",
            ),
            (
                f"ramvol_memory_resident_bytes{OF_INSTANCE}",
                "{{instance}} resident",
            ),
        ],
    )


def memory_by_content():
    return [
        graph(
            "Ratio",
            "Written bytes divided by the memory that they take, and divided by "
            "their compressed size alone, without index, cache and rounding.",
            "none",
            [
                (
                    f"sum by (instance) (ramvol_volume_logical_bytes{OF_INSTANCE})"
                    f" / sum by (instance) (ramvol_volume_{kind}_bytes{OF_INSTANCE})",
                    f"{{{{instance}}}} {words}",
                )
                for kind, words in [
                    ("memory", "over memory"),
                    ("stored", "compressed"),
                ]
            ],
        ),
        graph(
            "Blocks by state",
            "Written data by how it is stored: compressed in frames, raw because it "
            "does not compress, as a pattern that takes no memory, or dirty, which "
            "means in the cache and not yet compressed.",
            "bytes",
            [
                (
                    f"4096 * sum by (state) (ramvol_volume_blocks{OF_INSTANCE})",
                    "{{state}}",
                )
            ],
            stack=True,
        ),
    ]


def load():
    return [
        graph(
            "Operations",
            "Per second, over gRPC and NBD.",
            "ops",
            [(total_rate(f"{OPERATIONS}_count{OF_OP}", "op"), "{{op}}")],
        ),
        throughput(OF_INSTANCE),
        graph(
            "Errors",
            "Failed operations per second. SERVER_MEMORY_LIMIT and "
            "VOLUME_MEMORY_LIMIT: a memory limit is reached. CORRUPT_FRAME: damaged "
            "memory. Other reasons are mistakes of clients.",
            "ops",
            [(total_rate(ERRORS, "op", "reason"), "{{op}} {{reason}}")],
        ),
    ]


def latency():
    return [
        heatmap(
            "Operations by duration",
            "Number of operations by how long they took in the engine, without the "
            "network.",
            OPERATIONS,
            OF_OP,
        ),
        latencies(
            "Duration",
            "Median and 99th percentile in the engine.",
            OPERATIONS,
            OF_OP,
            "op",
        ),
    ]


def hot_cache():
    return [
        graph(
            "Hit rate",
            "Blocks that reads found uncompressed in the hot cache.",
            "percentunit",
            [(hit_rate("ramvol_hot_cache", OF_INSTANCE), "hits")],
            most=1,
        ),
        graph(
            "Hot cache",
            "Uncompressed blocks. Dirty ones are not yet compressed. When they fill "
            "three quarters of the limit, writers are slowed down.",
            "bytes",
            [
                (f"sum(ramvol_hot_cache_limit_bytes{OF_INSTANCE})", "limit"),
                (f"sum(ramvol_hot_cache_bytes{OF_INSTANCE})", "held"),
                (f"sum(ramvol_hot_cache_dirty_bytes{OF_INSTANCE})", "dirty"),
            ],
        ),
        graph(
            "Throttled writes and evictions",
            "Writes that had to compress a chunk because too much was dirty, and "
            "blocks that left the cache to make room, per second.",
            "ops",
            [
                (
                    total_rate(f"ramvol_throttled_writes_total{OF_INSTANCE}"),
                    "throttled writes",
                ),
                (
                    total_rate(f"ramvol_hot_cache_evictions_total{OF_INSTANCE}"),
                    "evictions",
                ),
            ],
        ),
    ]


def recompressed_frames():
    return graph(
        "Recompressed frames",
        "Frames that background work replaced, per second: cold ones were merged, "
        "randomly read ones split, half-dead ones rewritten.",
        "ops",
        [
            (
                total_rate(f"ramvol_recompressed_frames_total{OF_INSTANCE}", "kind"),
                "{{kind}}",
            )
        ],
    )


def compression():
    return [
        graph(
            "CPU for compression",
            "Cores that compressing and decompressing keep busy.",
            "none",
            [
                (
                    total_rate(
                        f"ramvol_codec_duration_seconds_sum{OF_INSTANCE}",
                        "direction",
                    ),
                    "{{direction}}",
                )
            ],
            stack=True,
        ),
        graph(
            "Mean time per frame",
            "How long it takes to compress or decompress one frame.",
            "s",
            [
                (
                    total_rate(
                        f"ramvol_codec_duration_seconds_sum{OF_INSTANCE}",
                        "direction",
                    )
                    + " / "
                    + total_rate(
                        f"ramvol_codec_duration_seconds_count{OF_INSTANCE}",
                        "direction",
                    ),
                    "{{direction}}",
                )
            ],
        ),
    ]


def volumes():
    return [
        volumes_table(),
        graph(
            "Largest volumes",
            "The ten volumes that refer to the most memory, shared memory included.",
            "bytes",
            [
                (
                    f"topk(10, ramvol_volume_memory_bytes{OF_INSTANCE})",
                    "{{volume}} {{instance}}",
                )
            ],
            width=12,
        ),
        graph(
            "Busiest volumes",
            "The ten volumes with the most operations per second.",
            "ops",
            [
                (
                    "topk(10, "
                    + total_rate(
                        f"ramvol_volume_operations_total{OF_INSTANCE}",
                        "instance",
                        "volume",
                    )
                    + ")",
                    "{{volume}} {{instance}}",
                )
            ],
            width=12,
        ),
    ]


def virtual_machines():
    return [
        graph(
            "Virtual machines",
            "Devices that are connected over vhost-user. Less than expected: "
            "`connection_refused` and `connection_ended` in the log say why.",
            "none",
            [(f"ramvol_vhost_user_connections{OF_INSTANCE}", "{{instance}}")],
        ),
        graph(
            "Requests of virtual machines",
            "Answered requests of virtio-blk per second, over vhost-user. ioerr and "
            "unsupp are failures, as the guest sees them.",
            "reqps",
            [
                (
                    total_rate(
                        f"ramvol_vhost_user_requests_total{OF_INSTANCE}",
                        "request",
                        "result",
                    ),
                    "{{request}} {{result}}",
                )
            ],
        ),
        graph(
            "Duration for virtual machines",
            "Median and 99th percentile from when a request is taken to its answer.",
            "s",
            quantiles(VHOST_DURATION, OF_INSTANCE, "request"),
        ),
    ]


def pauses():
    return heatmap(
        "Pause of writers",
        "Number of snapshots, clones and reverts by how long they held up writers of "
        "their volumes.",
        "ramvol_pause_duration_seconds",
        OF_INSTANCE,
    )


def copied_nodes():
    return graph(
        "Copied nodes",
        "Nodes of indexes that were shared when the first change came and so were "
        "copied, and snapshots and clones made, per second.",
        "ops",
        [
            (total_rate(f"ramvol_copied_nodes_total{OF_INSTANCE}"), "copied nodes"),
            (
                total_rate(f"ramvol_pause_duration_seconds_count{OF_INSTANCE}"),
                "snapshots, clones and reverts",
            ),
        ],
        width=12,
    )


def snapshots():
    return [
        graph(
            "Shared memory",
            "Shared: what volumes, clones and snapshots have in common, counted once. "
            "Snapshots alone: what no volume or clone needs, and no other snapshot; "
            "deleting snapshots gives it back.",
            "bytes",
            [
                (f"ramvol_memory_shared_bytes{OF_INSTANCE}", "{{instance}} shared"),
                (
                    f"sum by (instance) (ramvol_snapshot_own_bytes{OF_INSTANCE})",
                    "{{instance}} snapshots alone",
                ),
            ],
        ),
        graph(
            "Snapshots",
            "Number of snapshots.",
            "none",
            [(f"ramvol_snapshots{OF_INSTANCE}", "{{instance}}")],
        ),
        graph(
            "Largest snapshots",
            "The ten snapshots that alone hold the most memory.",
            "bytes",
            [
                (
                    f"topk(10, ramvol_snapshot_own_bytes{OF_INSTANCE})",
                    "{{snapshot}} {{instance}}",
                )
            ],
        ),
        pauses(),
        copied_nodes(),
        snapshots_table(),
    ]


def make():
    return dashboard(
        "overview",
        "Overview",
        "All servers: memory against the limit, load, latency, errors, volumes.",
        "ramvol_memory_limit_bytes",
        [
            variable(
                "instance",
                "Server",
                "label_values(ramvol_memory_limit_bytes, instance)",
                True,
            ),
            variable("op", "Operation", f"label_values({OPERATIONS}_count, op)", True),
        ],
        [
            *memory_at_a_glance(),
            *load_at_a_glance(),
            row("Memory"),
            memory_against_the_limit(),
            *memory_by_content(),
            row("Load"),
            *load(),
            row("Latency"),
            *latency(),
            row("Hot cache and compression"),
            *hot_cache(),
            recompressed_frames(),
            *compression(),
            *process_panels("ramvol_memory_limit_bytes"),
            row("Virtual machines"),
            *virtual_machines(),
            row("Volumes"),
            *volumes(),
            row("Snapshots and clones"),
            *snapshots(),
        ],
    )
