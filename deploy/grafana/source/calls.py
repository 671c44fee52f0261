"""The dashboard of gRPC's calls."""

from dashboard import dashboard, variable
from panels import OF_INSTANCE, OF_METHOD, graph, heatmap, latencies, stat, total_rate

STARTED = "grpc_server_started_total" + OF_METHOD
HANDLED = "grpc_server_handled_total" + OF_METHOD
FAILED = "grpc_server_handled_total" + OF_METHOD.replace(
    "}", ', grpc_code!~"OK|Canceled"}'
)
SECONDS = "grpc_server_handling_seconds"


def at_a_glance():
    return [
        stat(
            "Calls",
            "Calls that began, per second.",
            "reqps",
            total_rate(STARTED),
            width=6,
        ),
        stat(
            "Failed",
            "Share of ended calls that failed. Calls that clients cancelled do not "
            "count.",
            "percentunit",
            f"({total_rate(FAILED)} or sum(0 * ramvol_volumes{OF_INSTANCE}))"
            f" / {total_rate(HANDLED)}",
            [(0.01, "yellow"), (0.1, "red")],
            width=6,
            decimals=2,
        ),
        stat(
            "In progress",
            "Calls that have not ended, including streams.",
            "none",
            f"sum({STARTED}) - (sum({HANDLED}) or sum(0 * ramvol_volumes{OF_INSTANCE}))",
            width=6,
        ),
        stat(
            "Io streams",
            "Open streams for operations on volumes, the clients' fast path.",
            "none",
            f"sum(ramvol_io_streams{OF_INSTANCE})",
            width=6,
        ),
    ]


def calls():
    return [
        graph(
            "Calls by method",
            "Calls that began, per second.",
            "reqps",
            [(total_rate(STARTED, "grpc_method"), "{{grpc_method}}")],
        ),
        graph(
            "Calls by status",
            "Calls that ended, per second.",
            "reqps",
            [(total_rate(HANDLED, "grpc_code"), "{{grpc_code}}")],
            stack=True,
        ),
        graph(
            "Errors by method",
            "Calls that failed, per second. Calls that clients cancelled do not count.",
            "reqps",
            [
                (
                    total_rate(FAILED, "grpc_method", "grpc_code"),
                    "{{grpc_method}} {{grpc_code}}",
                )
            ],
        ),
    ]


def latency():
    return [
        heatmap(
            "Unary calls by duration",
            "Number of calls by how long they took in the server.",
            SECONDS,
            OF_METHOD.replace("}", ', grpc_type="unary"}'),
        ),
        latencies(
            "Duration of unary calls",
            "Median and 99th percentile in the server.",
            SECONDS,
            OF_METHOD.replace("}", ', grpc_type="unary"}'),
            "grpc_method",
        ),
    ]


def streams():
    return [
        graph(
            "Messages",
            "Received from and sent to clients, per second. A message of Io can "
            "carry many operations.",
            "ops",
            [
                (
                    total_rate(f"grpc_server_msg_{way}_total{OF_METHOD}", "grpc_type"),
                    f"{{{{grpc_type}}}} {way}",
                )
                for way in ("received", "sent")
            ],
        ),
        graph(
            "Calls in progress",
            "Calls that have not ended, by method.",
            "none",
            [
                (
                    f"sum by (grpc_method) ({STARTED})"
                    f" - sum by (grpc_method) ({HANDLED})",
                    "{{grpc_method}}",
                )
            ],
        ),
        graph(
            "Io streams",
            "Open streams for operations on volumes.",
            "none",
            [(f"ramvol_io_streams{OF_INSTANCE}", "{{instance}}")],
        ),
    ]


def make():
    return dashboard(
        "grpc",
        "gRPC",
        "Calls of VolumeService and BlockService. The metrics have the usual names "
        "for gRPC servers.",
        "ramvol_memory_limit_bytes",
        [
            variable(
                "instance",
                "Server",
                "label_values(ramvol_memory_limit_bytes, instance)",
                True,
            ),
            variable(
                "method",
                "Method",
                'label_values(grpc_server_started_total{grpc_service=~"ramvol.*"}, grpc_method)',
                True,
            ),
        ],
        [
            *at_a_glance(),
            *calls(),
            *latency(),
            *streams(),
        ],
    )
