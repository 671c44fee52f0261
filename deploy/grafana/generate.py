#!/usr/bin/env python3
"""Writes the dashboards in dashboards/, which have much in common. Edit here,
run it, keep both. A test says when they differ.

Argument: the folder to write to, dashboards/ beside this unless given.
"""

import json
import os
import sys

SCHEMA_VERSION = 42  # Grafana 12 and 13.
WIDTH = 24  # Of Grafana's grid.
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

OF_INSTANCE = '{instance=~"$instance"}'
OF_OP = '{instance=~"$instance", op=~"$op"}'
OF_VOLUME = '{instance=~"$instance", volume=~"$volume"}'
OF_COMMAND = '{instance=~"$instance", command=~"$command"}'
OF_METHOD = '{instance=~"$instance", grpc_service=~"ramvol.*", grpc_method=~"$method"}'


# --- Queries ---


def rate(metric):
    return f"rate({metric}[$__rate_interval])"


def total_rate(metric, *labels):
    """Per second, over all series, or for each value of the labels."""
    by = f" by ({', '.join(labels)})" if labels else ""
    return f"sum{by} ({rate(metric)})"


def quantile(share, histogram, selector, *labels):
    by = ", ".join([*labels, "le"])
    return (
        f"histogram_quantile({share}, "
        f"sum by ({by}) ({rate(histogram + '_bucket' + selector)}))"
    )


def quantiles(histogram, selector, label):
    return [
        (quantile(share, histogram, selector, label), f"{{{{{label}}}}} {name}")
        for share, name in [("0.5", "p50"), ("0.99", "p99")]
    ]


def hit_rate(prefix, selector):
    hits = total_rate(prefix + "_hits_total" + selector)
    misses = total_rate(prefix + "_misses_total" + selector)
    return f"{hits} / ({hits} + {misses})"


# --- Panels ---


def target(number, query, legend, **more):
    return {
        "refId": chr(ord("A") + number),
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": query,
        "legendFormat": legend,
        "range": True,
        "instant": False,
        **more,
    }


def panel(kind, title, description, unit, width, height, targets):
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "options": {},
    }


def thresholds(steps):
    """The steps are (value, color); below the first one it is green."""
    return {
        "mode": "absolute",
        "steps": [{"color": "green", "value": None}]
        + [{"color": color, "value": value} for value, color in steps],
    }


def stat(title, description, unit, query, steps=(), width=3, decimals=None):
    made = panel("stat", title, description, unit, width, 4, [target(0, query, "")])
    made["fieldConfig"]["defaults"].update(
        color={"mode": "thresholds"}, thresholds=thresholds(steps)
    )
    if decimals is not None:
        made["fieldConfig"]["defaults"]["decimals"] = decimals
    made["options"] = {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
    }
    return made


def graph(title, description, unit, queries, width=8, stack=False, most=None):
    """Lines over time. The queries are (PromQL, legend); `most` ends the axis."""
    targets = [target(i, *query) for i, query in enumerate(queries)]
    made = panel("timeseries", title, description, unit, width, 8, targets)
    defaults = made["fieldConfig"]["defaults"]
    defaults.update(
        color={"mode": "palette-classic"},
        min=0,
        noValue="none",
        custom={
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if stack else 10,
            "showPoints": "never",
            "stacking": {"mode": "normal" if stack else "none", "group": "A"},
        },
    )
    if most is not None:
        defaults["max"] = most
    made["options"] = {
        "legend": {
            "calcs": [],
            "displayMode": "list",
            "placement": "bottom",
            "showLegend": True,
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return made


def latencies(title, description, histogram, selector, label):
    """Quantiles of a histogram by a label, on a logarithmic axis."""
    queries = quantiles(histogram, selector, label)
    made = graph(title, description, "s", queries, width=12)
    defaults = made["fieldConfig"]["defaults"]
    defaults["custom"]["scaleDistribution"] = {"type": "log", "log": 10}
    del defaults["min"]
    return made


def heatmap(title, description, histogram, selector):
    query = f"sum by (le) (increase({histogram}_bucket{selector}[$__rate_interval]))"
    made = panel(
        "heatmap",
        title,
        description,
        "s",
        12,
        8,
        [target(0, query, "{{le}}", format="heatmap")],
    )
    made["options"] = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "fill": "dark-orange",
            "scale": "exponential",
            "exponent": 0.5,
            "steps": 64,
            "reverse": False,
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"},
    }
    return made


def row(title):
    return {
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"w": WIDTH, "h": 1},
        "panels": [],
    }


def volumes_table():
    """The largest volumes, one a line, each with a link to its own dashboard."""
    columns = [
        ("Size", "bytes", "ramvol_volume_size_bytes"),
        ("Written", "bytes", "ramvol_volume_logical_bytes"),
        ("Compressed", "bytes", "ramvol_volume_stored_bytes"),
        ("Memory", "bytes", "ramvol_volume_memory_bytes"),
        ("Reads", "binBps", "ramvol_volume_read_bytes_total"),
        ("Writes", "binBps", "ramvol_volume_written_bytes_total"),
        ("Clients", "none", "ramvol_volume_attached_clients"),
    ]
    largest = f"topk(50, ramvol_volume_memory_bytes{OF_INSTANCE})"
    targets = []
    for i, (_, _, metric) in enumerate(columns):
        values = metric + OF_INSTANCE
        if metric.endswith("_total"):
            values = rate(values)
        query = (
            f"sum by (instance, volume) "
            f"({values} and on (job, instance, volume) {largest})"
        )
        targets.append(target(i, query, "", format="table", range=False, instant=True))
    made = panel(
        "table",
        "Volumes",
        "The 50 volumes that take most memory. A name leads to the volume's own "
        'dashboard. "_other" is the sum of the volumes beyond '
        "--metrics_max_volumes.",
        "bytes",
        WIDTH,
        9,
        targets,
    )
    value = {f"Value #{made['refId']}": i for i, made in enumerate(targets)}
    made["transformations"] = [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": {"Time": True},
                "indexByName": {
                    "volume": 0,
                    "instance": 1,
                    **{name: i + 2 for name, i in value.items()},
                },
                "renameByName": {
                    "volume": "Volume",
                    "instance": "Instance",
                    **{name: columns[i][0] for name, i in value.items()},
                },
            },
        },
    ]
    link = (
        "/d/ramvol-volume?var-datasource=${datasource}"
        "&var-instance=${__data.fields.Instance}"
        "&var-volume=${__data.fields.Volume}&${__url_time_range}"
    )
    made["fieldConfig"]["overrides"] = [
        {
            "matcher": {"id": "byName", "options": "Volume"},
            "properties": [
                {"id": "links", "value": [{"title": "The volume", "url": link}]}
            ],
        }
    ] + [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "unit", "value": unit}],
        }
        for name, unit, _ in columns
        if unit != "bytes"
    ]
    made["options"] = {
        "cellHeight": "sm",
        "showHeader": True,
        "sortBy": [{"displayName": "Memory", "desc": True}],
    }
    return made


def process_panels(metric):
    """CPU, memory and files of the programs that export the metric."""
    of_ours = f"and on (job, instance) {metric}{OF_INSTANCE}"
    return [
        graph(
            "CPU",
            "Cores that the process keeps busy.",
            "none",
            [(f"{rate('process_cpu_seconds_total')} {of_ours}", "{{instance}}")],
        ),
        graph(
            "Resident memory",
            "What the process takes of the machine's memory: volumes, code, threads "
            "and messages under way.",
            "bytes",
            [(f"process_resident_memory_bytes {of_ours}", "{{instance}}")],
        ),
        graph(
            "File descriptors",
            "Open ones, among them each connection, as a part of those allowed.",
            "percentunit",
            [(f"process_open_fds / process_max_fds {of_ours}", "{{instance}}")],
            most=1,
        ),
    ]


# --- Dashboards ---


def variable(name, label, query, many):
    """A variable with the values of a label. If `many`, several or all of them."""
    made = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "Variable"},
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "multi": many,
        "includeAll": many,
        "hide": 0,
        "options": [],
    }
    if many:
        made["allValue"] = ".+"
        made["current"] = {"text": ["All"], "value": ["$__all"]}
    return made


def datasource_variable():
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "options": [],
    }


def annotation(name, color, query, title, **more):
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": color,
        "target": {"expr": query, "refId": "Annotation"},
        "titleFormat": title,
        "textFormat": "{{instance}} {{volume}}",
        **more,
    }


def annotations(metric):
    return [
        annotation(
            "Starts",
            "blue",
            f"1000 * process_start_time_seconds "
            f"and on (job, instance) {metric}{OF_INSTANCE}",
            "{{job}} started",
            useValueForTime=True,
        ),
        annotation(
            "Alerts",
            "red",
            'ALERTS{alertname=~"Ramvol.*", alertstate="firing", '
            'instance=~"$instance"}',
            "{{alertname}}",
        ),
    ]


def lay_out(panels):
    """Gives panels numbers and places: from left to right, then downwards."""
    x = y = height = 0
    for number, made in enumerate(panels, 1):
        place = made["gridPos"]
        if x + place["w"] > WIDTH:
            x, y = 0, y + height
        made["id"] = number
        place.update(x=x, y=y)
        x, height = x + place["w"], place["h"]
    return panels


def dashboard(name, title, description, metric, variables, panels):
    """The metric is one that only the programs of this dashboard export."""
    return {
        "uid": f"ramvol-{name}",
        "title": f"ramvol / {title}",
        "description": description,
        "tags": ["ramvol"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "timezone": "",
        "fiscalYearStartMonth": 0,
        "links": [
            {
                "title": "ramvol",
                "type": "dashboards",
                "tags": ["ramvol"],
                "asDropdown": False,
                "icon": "external link",
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "tooltip": "",
                "url": "",
            }
        ],
        "annotations": {"list": annotations(metric)},
        "templating": {"list": [datasource_variable(), *variables]},
        "panels": lay_out(panels),
    }


def overview():
    used = "ramvol_memory_used_bytes" + OF_INSTANCE
    limit = "ramvol_memory_limit_bytes" + OF_INSTANCE
    errors = "ramvol_volume_errors_total" + OF_INSTANCE
    operations = "ramvol_operation_duration_seconds"
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
            variable("op", "Operation", f"label_values({operations}_count, op)", True),
        ],
        [
            stat(
                "Servers",
                "Processes of ramvold that were scraped.",
                "none",
                f"count({limit})",
            ),
            stat(
                "Memory used",
                "Of --memory_limit, on the fullest server. At 100% writes fail; reads "
                "and trims go on.",
                "percentunit",
                f"max({used} / {limit})",
                [(0.8, "yellow"), (0.9, "red")],
                decimals=1,
            ),
            stat(
                "Full in",
                "When the first server reaches its limit, should memory go on to grow "
                "as in the last half hour. 30 days mean that or longer.",
                "s",
                f"min(clamp_max(({limit} - {used}) / clamp_min(deriv(ramvol_memory_used_bytes"
                f"{OF_INSTANCE}[30m]), 1), 30 * 86400))",
                [(0, "red"), (4 * 3600, "yellow"), (24 * 3600, "green")],
                decimals=1,
            ),
            stat(
                "Ratio",
                "Bytes that clients have written and not trimmed, over the memory that "
                "they take, all overhead counted.",
                "none",
                f"sum(ramvol_volume_logical_bytes{OF_INSTANCE})"
                f" / sum(ramvol_volume_memory_bytes{OF_INSTANCE})",
                decimals=2,
            ),
            stat(
                "Volumes",
                "Volumes that there are.",
                "none",
                f"sum(ramvol_volumes{OF_INSTANCE})",
            ),
            stat(
                "Operations",
                "Reads, writes, trims and others a second, by gRPC and NBD.",
                "ops",
                total_rate(f"{operations}_count{OF_INSTANCE}"),
            ),
            stat(
                "Errors",
                "Operations on volumes that failed, a second, whatever the reason.",
                "ops",
                f"{total_rate(errors)} or sum(0 * ramvol_volumes{OF_INSTANCE})",
                [(0.001, "yellow"), (1, "red")],
                decimals=1,
            ),
            stat(
                "Damaged frames",
                "Frames that failed their checksum since the servers started: data "
                "that is lost.",
                "none",
                f"sum(ramvol_corrupt_frames_total{OF_INSTANCE})",
                [(1, "red")],
            ),
            row("Memory"),
            graph(
                "Memory against the limit",
                "Used: what counts against --memory_limit. Allocated: what of it is in "
                "live objects. Resident: the whole process, as the system sees it.",
                "bytes",
                [
                    (limit, "{{instance}} limit"),
                    (used, "{{instance}} used"),
                    (
                        f"ramvol_memory_allocated_bytes{OF_INSTANCE}",
                        "{{instance}} allocated",
                    ),
                    (
                        f"ramvol_memory_resident_bytes{OF_INSTANCE}",
                        "{{instance}} resident",
                    ),
                ],
            ),
            graph(
                "Ratio",
                "Written bytes over the memory that they take, and over their "
                "compressed bytes alone, which leave out index, cache and rounding.",
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
                "What was written, by how it is held: in compressed frames, raw "
                "because it does not compress, as a pattern that takes no memory, or "
                "dirty, which is in the cache and not compressed yet.",
                "bytes",
                [
                    (
                        f"4096 * sum by (state) (ramvol_volume_blocks{OF_INSTANCE})",
                        "{{state}}",
                    )
                ],
                stack=True,
            ),
            row("Load"),
            graph(
                "Operations",
                "Per second, by gRPC and NBD.",
                "ops",
                [(total_rate(f"{operations}_count{OF_OP}", "op"), "{{op}}")],
            ),
            graph(
                "Throughput",
                "Bytes that clients read, wrote and trimmed, a second.",
                "binBps",
                [
                    (total_rate(f"ramvol_volume_{kind}_bytes_total{OF_INSTANCE}"), kind)
                    for kind in ("read", "written", "trimmed")
                ],
            ),
            graph(
                "Errors",
                "Failed operations a second. SERVER_MEMORY_LIMIT and "
                "VOLUME_MEMORY_LIMIT: no room. CORRUPT_FRAME: damaged memory. Others "
                "are clients' mistakes.",
                "ops",
                [(total_rate(errors, "op", "reason"), "{{op}} {{reason}}")],
            ),
            row("Latency"),
            heatmap(
                "Operations by duration",
                "How many operations took how long, in the engine: without the way "
                "over the network.",
                operations,
                OF_OP,
            ),
            latencies(
                "Duration",
                "The median, and what one in a hundred exceeds, in the engine.",
                operations,
                OF_OP,
                "op",
            ),
            row("Hot cache and compression"),
            graph(
                "Hit rate",
                "Blocks that reads found uncompressed in the hot cache.",
                "percentunit",
                [(hit_rate("ramvol_hot_cache", OF_INSTANCE), "hits")],
                most=1,
            ),
            graph(
                "Hot cache",
                "Uncompressed blocks. Dirty ones are not compressed yet; at three "
                "quarters of the limit writers are slowed.",
                "bytes",
                [
                    (f"sum(ramvol_hot_cache_limit_bytes{OF_INSTANCE})", "limit"),
                    (f"sum(ramvol_hot_cache_bytes{OF_INSTANCE})", "held"),
                    (f"sum(ramvol_hot_cache_dirty_bytes{OF_INSTANCE})", "dirty"),
                ],
            ),
            graph(
                "Throttled writes and evictions",
                "Writes that compressed a chunk themselves because too much was dirty, "
                "and blocks that left the cache to make room, a second.",
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
            graph(
                "Frames made anew",
                "By the background, a second: merged once cold, split where read at "
                "random, rewritten where half was dead.",
                "ops",
                [
                    (
                        total_rate(
                            f"ramvol_recompressed_frames_total{OF_INSTANCE}", "kind"
                        ),
                        "{{kind}}",
                    )
                ],
            ),
            graph(
                "Compression's share of the cores",
                "Cores that compress and decompress.",
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
                "Compression of a frame, mean",
                "How long one frame takes.",
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
            *process_panels("ramvol_memory_limit_bytes"),
            row("Volumes"),
            volumes_table(),
            graph(
                "Largest volumes",
                "The ten that take most memory.",
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
                "The ten with most operations a second.",
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
        ],
    )


def volume():
    def gauge(name):
        return f"ramvol_volume_{name}{OF_VOLUME}"

    errors = "ramvol_volume_errors_total" + OF_VOLUME
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
                f"{total_rate(errors)} or sum(0 * {gauge('size_bytes')})",
                [(0.001, "yellow"), (1, "red")],
                width=4,
                decimals=1,
            ),
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
            graph(
                "Throughput",
                "Bytes that clients read, wrote and trimmed, a second.",
                "binBps",
                [
                    (total_rate(f"ramvol_volume_{kind}_bytes_total{OF_VOLUME}"), kind)
                    for kind in ("read", "written", "trimmed")
                ],
            ),
            graph(
                "Errors",
                "Failed operations a second, by reason.",
                "ops",
                [(total_rate(errors, "op", "reason"), "{{op}} {{reason}}")],
            ),
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
        ],
    )


def nbd():
    requests = "ramvol_nbd_requests_total"
    failed = OF_COMMAND.replace("}", ', error!="none"}')
    duration = "ramvol_nbd_request_duration_seconds"
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
                "command", "Command", f"label_values({duration}_count, command)", True
            ),
        ],
        [
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
                total_rate(requests + OF_INSTANCE),
                width=4,
            ),
            stat(
                "Failed",
                "Of the requests, those answered with an error.",
                "percentunit",
                f"({total_rate(requests + failed)} or sum(0 * ramvol_nbd_connections"
                f"{OF_INSTANCE})) / {total_rate(requests + OF_COMMAND)}",
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
            graph(
                "Requests",
                "Answered per second, by command.",
                "reqps",
                [(total_rate(requests + OF_COMMAND, "command"), "{{command}}")],
            ),
            graph(
                "Errors",
                "Requests answered with an error, per second. enospc: no room. eio: "
                "damaged data, or a server that stayed away. Others are clients' "
                "mistakes.",
                "reqps",
                [
                    (
                        total_rate(requests + failed, "command", "error"),
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
            heatmap(
                "Requests by duration",
                "How many requests took how long, from arrival to answer; by ramvol-nbd "
                "with the way to the server.",
                duration,
                OF_COMMAND,
            ),
            latencies(
                "Duration",
                "The median, and what one in a hundred exceeds.",
                duration,
                OF_COMMAND,
                "command",
            ),
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
                        quantile("0.99", duration, OF_COMMAND, "job", "instance"),
                        "{{job}} {{instance}}",
                    )
                ],
            ),
            graph(
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
            ),
            *process_panels("ramvol_nbd_connections"),
        ],
    )


def grpc():
    started = "grpc_server_started_total" + OF_METHOD
    handled = "grpc_server_handled_total" + OF_METHOD
    failed = "grpc_server_handled_total" + OF_METHOD.replace(
        "}", ', grpc_code!~"OK|Canceled"}'
    )
    seconds = "grpc_server_handling_seconds"
    return dashboard(
        "grpc",
        "gRPC",
        "Calls of VolumeService and BlockService, with the names of the gRPC ecosystem.",
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
            stat("Calls", "Begun per second.", "reqps", total_rate(started), width=6),
            stat(
                "Failed",
                "Of the calls that ended, those that failed. Those that clients left do "
                "not count.",
                "percentunit",
                f"({total_rate(failed)} or sum(0 * ramvol_volumes{OF_INSTANCE}))"
                f" / {total_rate(handled)}",
                [(0.01, "yellow"), (0.1, "red")],
                width=6,
                decimals=2,
            ),
            stat(
                "Under way",
                "Calls that began and have not ended, streams among them.",
                "none",
                f"sum({started}) - (sum({handled}) or sum(0 * ramvol_volumes{OF_INSTANCE}))",
                width=6,
            ),
            stat(
                "Io streams",
                "Streams open for operations on volumes: each client's fast path.",
                "none",
                f"sum(ramvol_io_streams{OF_INSTANCE})",
                width=6,
            ),
            graph(
                "Calls by method",
                "Begun per second.",
                "reqps",
                [(total_rate(started, "grpc_method"), "{{grpc_method}}")],
            ),
            graph(
                "Calls by status",
                "Ended per second.",
                "reqps",
                [(total_rate(handled, "grpc_code"), "{{grpc_code}}")],
                stack=True,
            ),
            graph(
                "Errors by method",
                "Calls that failed, per second. Those that clients left, which ended as "
                "Canceled, do not count.",
                "reqps",
                [
                    (
                        total_rate(failed, "grpc_method", "grpc_code"),
                        "{{grpc_method}} {{grpc_code}}",
                    )
                ],
            ),
            heatmap(
                "Unary calls by duration",
                "How many calls took how long in the server.",
                seconds,
                OF_METHOD.replace("}", ', grpc_type="unary"}'),
            ),
            latencies(
                "Duration of unary calls",
                "The median, and what one in a hundred exceeds, in the server.",
                seconds,
                OF_METHOD.replace("}", ', grpc_type="unary"}'),
                "grpc_method",
            ),
            graph(
                "Messages",
                "Received from and sent to clients, per second. One message of Io "
                "carries many operations.",
                "ops",
                [
                    (
                        total_rate(
                            f"grpc_server_msg_{way}_total{OF_METHOD}", "grpc_type"
                        ),
                        f"{{{{grpc_type}}}} {way}",
                    )
                    for way in ("received", "sent")
                ],
            ),
            graph(
                "Calls under way",
                "Calls that began and have not ended, by method.",
                "none",
                [
                    (
                        f"sum by (grpc_method) ({started})"
                        f" - sum by (grpc_method) ({handled})",
                        "{{grpc_method}}",
                    )
                ],
            ),
            graph(
                "Io streams",
                "Streams open for operations on volumes.",
                "none",
                [(f"ramvol_io_streams{OF_INSTANCE}", "{{instance}}")],
            ),
        ],
    )


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "dashboards")
    for make in (overview, volume, nbd, grpc):
        with open(os.path.join(folder, f"{make.__name__}.json"), "w") as file:
            json.dump(make(), file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
