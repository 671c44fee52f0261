"""The dashboard of one volume."""

from dashboard import dashboard, variable
from panels import OF_VOLUME, graph, hit_rate, stat, throughput, total_rate

ERRORS = "ramvol_volume_errors_total" + OF_VOLUME


def gauge(name):
    return f"ramvol_volume_{name}{OF_VOLUME}"


def size_at_a_glance():
    return [
        stat(
            "Size",
            "What clients see.",
            "bytes",
            f"sum({gauge('size_bytes')})",
            width=4,
        ),
        stat(
            "Written",
            "Bytes that are not holes.",
            "bytes",
            f"sum({gauge('logical_bytes')})",
            width=4,
        ),
        stat(
            "Memory",
            "What the volume takes, all overhead counted.",
            "bytes",
            f"sum({gauge('memory_bytes')})",
            width=4,
        ),
        stat(
            "Ratio",
            "Written bytes over the memory that they take.",
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
            "Streams of gRPC and connections of NBD that have it open.",
            "none",
            f"sum({gauge('attached_clients')})",
            width=4,
        ),
        stat(
            "Errors",
            "Failed operations a second.",
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
            "Written: what is not a hole. Compressed: what that takes as frames and "
            "raw pages. Memory: with index, cache and rounding. Limit: the volume's "
            "own, 0 where it has none.",
            "bytes",
            [
                (gauge("logical_bytes"), "written"),
                (gauge("stored_bytes"), "compressed"),
                (gauge("memory_bytes"), "memory"),
                (gauge("memory_limit_bytes"), "limit"),
            ],
        ),
        graph(
            "Blocks by state",
            "What was written, by how it is held.",
            "bytes",
            [(f"4096 * sum by (state) ({gauge('blocks')})", "{{state}}")],
            stack=True,
        ),
        graph(
            "Frames by length",
            "Frames of one to 16 blocks of 4 KiB. Long ones are denser, short ones "
            "are read faster.",
            "none",
            [(f"sum by (span) ({gauge('frames')})", "{{span}}")],
            stack=True,
        ),
    ]


def load():
    return [
        graph(
            "Operations",
            "Per second, by gRPC and NBD.",
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
            "Failed operations a second, by reason.",
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
            "Mean size of an operation",
            "Bytes a read, and bytes a write.",
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
            "Streams of gRPC and connections of NBD that have it open.",
            "none",
            [(f"sum({gauge('attached_clients')})", "clients")],
        ),
    ]


def make():
    return dashboard(
        "volume",
        "Volume",
        "One volume: what it holds and takes, who uses it and how.",
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
        ],
    )
