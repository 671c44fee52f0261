"""The dashboard of NBD."""

from dashboard import dashboard, variable
from panels import (
    OF_COMMAND,
    OF_INSTANCE,
    graph,
    heatmap,
    latencies,
    process_panels,
    quantile,
    rate,
    stat,
    total_rate,
)

REQUESTS = "ramvol_nbd_requests_total"
DURATION = "ramvol_nbd_request_duration_seconds"
OF_FAILED = OF_COMMAND.replace("}", ', error!="none"}')


def load_at_a_glance():
    return [
        stat(
            "Connections",
            "Connected NBD clients.",
            "none",
            f"sum(ramvol_nbd_connections{OF_INSTANCE})",
            width=4,
        ),
        stat(
            "In progress",
            "Requests that are not yet answered.",
            "none",
            f"sum(ramvol_nbd_inflight_requests{OF_INSTANCE})",
            width=4,
        ),
        stat(
            "Requests",
            "Requests of all commands, per second.",
            "reqps",
            total_rate(REQUESTS + OF_INSTANCE),
            width=4,
        ),
    ]


def errors_at_a_glance():
    return [
        stat(
            "Failed",
            "Share of requests that were answered with an error.",
            "percentunit",
            f"({total_rate(REQUESTS + OF_FAILED)} or sum(0 * ramvol_nbd_connections"
            f"{OF_INSTANCE})) / {total_rate(REQUESTS + OF_COMMAND)}",
            [(0.0001, "yellow"), (0.01, "red")],
            width=4,
            decimals=2,
        ),
        stat(
            "Lost streams",
            "Streams from ramvol-nbd to ramvold that are lost. Requests wait until "
            "they are open again.",
            "none",
            f"sum(ramvol_nbd_lost_streams{OF_INSTANCE})",
            [(1, "red")],
            width=4,
        ),
        stat(
            "Reconnects",
            "Lost streams from ramvol-nbd to ramvold that were reopened in the time "
            "range.",
            "none",
            f"sum(increase(ramvol_nbd_reconnects_total{OF_INSTANCE}[$__range]))",
            [(1, "yellow")],
            width=4,
            decimals=0,
        ),
    ]


def load():
    return [
        graph(
            "Requests",
            "Answered requests per second, by command.",
            "reqps",
            [(total_rate(REQUESTS + OF_COMMAND, "command"), "{{command}}")],
        ),
        graph(
            "Errors",
            "Requests answered with an error, per second. enospc: a memory limit is "
            "reached. eio: damaged data, or the server is unreachable. Other errors "
            "are mistakes of clients.",
            "reqps",
            [
                (
                    total_rate(REQUESTS + OF_FAILED, "command", "error"),
                    "{{command}} {{error}}",
                )
            ],
        ),
        graph(
            "Connections",
            "Connected NBD clients.",
            "none",
            [(f"ramvol_nbd_connections{OF_INSTANCE}", "{{job}} {{instance}}")],
        ),
    ]


def latency():
    return [
        heatmap(
            "Requests by duration",
            "Number of requests by how long they took from arrival to answer. For "
            "ramvol-nbd, this includes the network to ramvold.",
            DURATION,
            OF_COMMAND,
        ),
        latencies(
            "Duration",
            "Median and 99th percentile.",
            DURATION,
            OF_COMMAND,
            "command",
        ),
    ]


def programs():
    return [
        graph(
            "Requests in progress",
            "Requests that are not yet answered. Many of them, but few answers per "
            "second, mean that the server is slow or unreachable.",
            "none",
            [
                (
                    f"ramvol_nbd_inflight_requests{OF_INSTANCE}",
                    "{{job}} {{instance}}",
                )
            ],
        ),
        graph(
            "Duration by program",
            "The 99th percentile of the chosen commands. ramvol-nbd adds a process and a "
            "network to ramvold.",
            "s",
            [
                (
                    quantile("0.99", DURATION, OF_COMMAND, "job", "instance"),
                    "{{job}} {{instance}}",
                )
            ],
        ),
    ]


def connection_to_ramvold():
    return graph(
        "Connection to ramvold",
        "Streams from ramvol-nbd to ramvold: lost ones, and ones that were reopened, "
        "per minute.",
        "none",
        [
            (f"ramvol_nbd_lost_streams{OF_INSTANCE}", "{{instance}} lost"),
            (
                f"60 * {rate('ramvol_nbd_reconnects_total' + OF_INSTANCE)}",
                "{{instance}} reopened",
            ),
        ],
    )


def make():
    return dashboard(
        "nbd",
        "NBD",
        "NBD as served by ramvold and by ramvol-nbd.",
        "ramvol_nbd_connections",
        [
            variable(
                "instance",
                "Program",
                "label_values(ramvol_nbd_connections, instance)",
                True,
            ),
            variable(
                "command", "Command", f"label_values({DURATION}_count, command)", True
            ),
        ],
        [
            *load_at_a_glance(),
            *errors_at_a_glance(),
            *load(),
            *latency(),
            *programs(),
            connection_to_ramvold(),
            *process_panels("ramvol_nbd_connections"),
        ],
    )
