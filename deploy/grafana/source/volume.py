"""The dashboard of one volume."""

from dashboard import dashboard, variable
from panels import (
    OF_SOURCE,
    OF_VOLUME,
    graph,
    hit_rate,
    snapshots_table,
    stat,
    throughput,
    total_rate,
)

ERRORS = "ramvol_volume_errors_total" + OF_VOLUME


def gauge(name):
    return f"ramvol_volume_{name}{OF_VOLUME}"


def size_at_a_glance():
    return [
        stat(
            "Size",
            "Size as clients see it.",
            "bytes",
            f"sum({gauge('size_bytes')})",
            width=4,
        ),
        stat(
            "Written",
            "Data that is not a hole.",
            "bytes",
            f"sum({gauge('logical_bytes')})",
            width=4,
        ),
        stat(
            "Memory",
            "Memory that the volume refers to, including all overhead. What it shares "
            "with snapshots and clones is in it.",
            "bytes",
            f"sum({gauge('memory_bytes')})",
            width=4,
        ),
        stat(
            "Ratio",
            "Written bytes divided by the memory that they take.",
            "none",
            f"sum({gauge('logical_bytes')}) / sum({gauge('memory_bytes')})",
            width=4,
            decimals=2,
        ),
    ]


def use_at_a_glance():
    return [
        stat(
            "Clients",
            "Clients of gRPC and NBD that have the volume open.",
            "none",
            f"sum({gauge('attached_clients')})",
            width=4,
        ),
        stat(
            "Errors",
            "Failed operations per second.",
            "ops",
            f"{total_rate(ERRORS)} or sum(0 * {gauge('size_bytes')})",
            [(0.001, "yellow"), (1, "red")],
            width=4,
            decimals=1,
        ),
    ]


def content():
    return [
        graph(
            "Content",
            "Written: data that is not a hole. Compressed: its frames and raw pages. "
            "Memory: including index, cache and rounding. Own: without what the volume "
            "shares with snapshots and clones. Limit: the most that own may be, or 0.",
            "bytes",
            [
                (gauge("logical_bytes"), "written"),
                (gauge("stored_bytes"), "compressed"),
                (gauge("memory_bytes"), "memory"),
                (gauge("own_bytes"), "own"),
                (gauge("memory_limit_bytes"), "limit"),
            ],
        ),
        graph(
            "Blocks by state",
            "Written data by how it is stored.",
            "bytes",
            [(f"4096 * sum by (state) ({gauge('blocks')})", "{{state}}")],
            stack=True,
        ),
        graph(
            "Frames by length",
            "Frames by how many blocks of 4 KiB they span. Long frames compress "
            "better, short ones are faster to read at random.",
            "none",
            # Two queries: series of one are in the order of text, 16 before 2.
            [
                (
                    f"sum by (span) ({gauge('frames')})".replace(
                        "}", f', span=~"{digits}"}}'
                    ),
                    "{{span}}",
                )
                for digits in (".", "..")
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
            [
                (
                    total_rate(f"ramvol_volume_operations_total{OF_VOLUME}", "op"),
                    "{{op}}",
                )
            ],
        ),
        throughput(OF_VOLUME),
        graph(
            "Errors",
            "Failed operations per second, by reason.",
            "ops",
            [(total_rate(ERRORS, "op", "reason"), "{{op}} {{reason}}")],
        ),
    ]


def use():
    return [
        graph(
            "Hit rate",
            "Blocks that reads found uncompressed in the hot cache.",
            "percentunit",
            [(hit_rate("ramvol_volume_hot_cache", OF_VOLUME), "hits")],
            most=1,
        ),
        graph(
            "Mean operation size",
            "Bytes per read and per write.",
            "bytes",
            [
                (
                    total_rate(f"ramvol_volume_{kind}_bytes_total{OF_VOLUME}")
                    + " / "
                    + total_rate(
                        "ramvol_volume_operations_total"
                        + OF_VOLUME.replace("}", f', op="{op}"}}')
                    ),
                    op,
                )
                for kind, op in [("read", "read"), ("written", "write")]
            ],
        ),
        graph(
            "Clients",
            "Clients of gRPC and NBD that have the volume open.",
            "none",
            [(f"sum({gauge('attached_clients')})", "clients")],
        ),
    ]


def make():
    return dashboard(
        "volume",
        "Volume",
        "One volume: its content, memory, clients and operations.",
        "ramvol_memory_limit_bytes",
        [
            variable(
                "instance",
                "Server",
                "label_values(ramvol_memory_limit_bytes, instance)",
                False,
            ),
            variable(
                "volume",
                "Volume",
                'label_values(ramvol_volume_size_bytes{instance=~"$instance"}, volume)',
                False,
            ),
        ],
        [
            *size_at_a_glance(),
            *use_at_a_glance(),
            *content(),
            *load(),
            *use(),
            snapshots_table(OF_SOURCE, height=6),
        ],
    )
