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
            "NBD clients that are connected.",
            "none",
            f"sum(ramvol_nbd_connections{OF_INSTANCE})",
            width=4,
        ),
        stat(
            "Under way",
            "Requests that are not answered yet.",
            "none",
            f"sum(ramvol_nbd_inflight_requests{OF_INSTANCE})",
            width=4,
        ),
        stat(
            "Requests",
            "Per second, all commands.",
            "reqps",
            total_rate(REQUESTS + OF_INSTANCE),
            width=4,
        ),
    ]


def errors_at_a_glance():
    return [
        stat(
            "Failed",
            "Of the requests, those answered with an error.",
            "percentunit",
            f"({total_rate(REQUESTS + OF_FAILED)} or sum(0 * ramvol_nbd_connections"
            f"{OF_INSTANCE})) / {total_rate(REQUESTS + OF_COMMAND)}",
            [(0.0001, "yellow"), (0.01, "red")],
            width=4,
            decimals=2,
        ),
        stat(
            "Lost streams",
            "Streams from ramvol-nbd to ramvold that were lost and are not open "
            "again. Requests wait for them.",
            "none",
            f"sum(ramvol_nbd_lost_streams{OF_INSTANCE})",
            [(1, "red")],
            width=4,
        ),
        stat(
            "Reconnects",
            "Streams from ramvol-nbd to ramvold that were lost and opened again "
            "within the time range.",
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
            "Answered per second, by command.",
            "reqps",
            [(total_rate(REQUESTS + OF_COMMAND, "command"), "{{command}}")],
        ),
        graph(
            "Errors",
            "Requests answered with an error, per second. enospc: no room. eio: "
            "damaged data, or a server that stayed away. Others are clients' "
            "mistakes.",
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
            "NBD clients that are connected.",
            "none",
            [(f"ramvol_nbd_connections{OF_INSTANCE}", "{{job}} {{instance}}")],
        ),
    ]


def latency():
    return [
        heatmap(
            "Requests by duration",
            "How many requests took how long, from arrival to answer; by ramvol-nbd "
            "with the way to the server.",
            DURATION,
            OF_COMMAND,
        ),
        latencies(
            "Duration",
            "The median, and what one in a hundred exceeds.",
            DURATION,
            OF_COMMAND,
            "command",
        ),
    ]


def programs():
    return [
        graph(
            "Requests under way",
            "Not answered yet. Many of them with few answers a second: the server is "
            "slow or away.",
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
            "What one request in a hundred exceeds, of the chosen commands. "
            "ramvol-nbd adds a process and a network to ramvold.",
            "s",
            [
                (
                    quantile("0.99", DURATION, OF_COMMAND, "job", "instance"),
                    "{{job}} {{instance}}",
                )
            ],
        ),
    ]


def way_to_the_server():
    return graph(
        "Way to the server",
        "Of ramvol-nbd: streams that are lost, and those that were opened again, "
        "a minute.",
        "none",
        [
            (f"ramvol_nbd_lost_streams{OF_INSTANCE}", "{{instance}} lost"),
            (
                f"60 * {rate('ramvol_nbd_reconnects_total' + OF_INSTANCE)}",
                "{{instance}} opened again",
            ),
        ],
    )


def make():
    return dashboard(
        "nbd",
        "NBD",
        "NBD as served by ramvold itself and by ramvol-nbd.",
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
            way_to_the_server(),
            *process_panels("ramvol_nbd_connections"),
        ],
    )
