"""Building blocks of dashboards: queries and panels."""

WIDTH = 24  # Of Grafana's grid.
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

OF_INSTANCE = '{instance=~"$instance"}'
OF_OP = '{instance=~"$instance", op=~"$op"}'
OF_VOLUME = '{instance=~"$instance", volume=~"$volume"}'
OF_SOURCE = '{instance=~"$instance", source=~"$volume"}'
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
    """The steps are (value, color). Below the first, the color is green."""
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
    """Lines over time. The queries are (PromQL, legend). `most` is the end of the axis."""
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


def throughput(selector):
    return graph(
        "Throughput",
        "Bytes that clients read, wrote and trimmed, per second.",
        "binBps",
        [
            (total_rate(f"ramvol_volume_{kind}_bytes_total{selector}"), kind)
            for kind in ("read", "written", "trimmed")
        ],
    )


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


# What a table shows of each: title, unit and metric, or two metrics of which it
# shows the quotient.
VOLUMES_COLUMNS = [
    ("Size", "bytes", "ramvol_volume_size_bytes"),
    ("Written", "bytes", "ramvol_volume_logical_bytes"),
    ("Compressed", "bytes", "ramvol_volume_stored_bytes"),
    ("Memory", "bytes", "ramvol_volume_memory_bytes"),
    ("Own", "bytes", "ramvol_volume_own_bytes"),
    ("Ratio", "none", "ramvol_volume_logical_bytes / ramvol_volume_memory_bytes"),
    ("Reads", "binBps", "ramvol_volume_read_bytes_total"),
    ("Writes", "binBps", "ramvol_volume_written_bytes_total"),
    ("Clients", "none", "ramvol_volume_attached_clients"),
]
SNAPSHOTS_COLUMNS = [
    ("Own", "bytes", "ramvol_snapshot_own_bytes"),
    ("Refers to", "bytes", "ramvol_snapshot_memory_bytes"),
    ("Age", "s", "time() - ramvol_snapshot_create_time_seconds"),
]


def table_target(number, metric, selector, keys, largest):
    """The metric's current values for those that have most of `largest`."""
    values = " / ".join(part + selector for part in metric.split(" / "))
    if metric.endswith("_total"):
        values = rate(values)
    query = (
        f"sum by ({', '.join(keys)}) ({values} and on (job, instance, {keys[0]})"
        f" topk(50, {largest}{selector}))"
    )
    return target(number, query, "", format="table", range=False, instant=True)


def in_lines(keys, columns, targets):
    """The transformations that make one row of each one's values."""
    values = [f"Value #{made['refId']}" for made in targets]
    titles = [title for title, _, _ in columns]
    return [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": {"Time": True},
                "indexByName": {name: i for i, name in enumerate([*keys, *values])},
                "renameByName": {
                    **{key: key.capitalize() for key in keys},
                    **dict(zip(values, titles)),
                },
            },
        },
    ]


def volume_link(field):
    """A link to the dashboard of the volume that a field names."""
    url = (
        "/d/ramvol-volume?var-datasource=${datasource}"
        "&var-instance=${__data.fields.Instance}"
        f"&var-volume=${{__data.fields.{field}}}&${{__url_time_range}}"
    )
    return {"id": "links", "value": [{"title": "The volume", "url": url}]}


def overrides(columns, more):
    """The units that are not bytes, and more properties by field."""
    properties = {field: [*added] for field, added in more.items()}
    for title, unit, _ in columns:
        if unit != "bytes":
            properties.setdefault(title, []).append({"id": "unit", "value": unit})
    return [
        {"matcher": {"id": "byName", "options": title}, "properties": changed}
        for title, changed in properties.items()
    ]


def table(
    title, description, keys, columns, sort_by, more, selector=OF_INSTANCE, height=9
):
    """The 50 that have most in the column `sort_by`, one in a row. The keys are
    labels that tell them apart. `more` are properties of fields."""
    (largest,) = (metric for name, _, metric in columns if name == sort_by)
    targets = [
        table_target(i, metric, selector, keys, largest)
        for i, (_, _, metric) in enumerate(columns)
    ]
    made = panel("table", title, description, "bytes", WIDTH, height, targets)
    made["transformations"] = in_lines(keys, columns, targets)
    made["fieldConfig"]["overrides"] = overrides(columns, more)
    made["options"] = {
        "cellHeight": "sm",
        "showHeader": True,
        "sortBy": [{"displayName": sort_by, "desc": True}],
    }
    return made


def volumes_table():
    return table(
        "Volumes",
        "The 50 volumes that refer to the most memory. Own: what deleting the volume "
        "would give back; the rest is shared with snapshots and clones. A name links "
        'to the volume\'s dashboard. "_other" is the sum of the volumes beyond '
        "--metrics_max_volumes.",
        ["volume", "instance"],
        VOLUMES_COLUMNS,
        "Memory",
        {
            "Volume": [volume_link("Volume")],
            "Ratio": [{"id": "decimals", "value": 2}],
        },
    )


def snapshots_table(selector=OF_INSTANCE, height=9):
    return table(
        "Snapshots",
        "The 50 snapshots that alone hold the most memory. Own: what deleting the "
        "snapshot would give back; the rest of what it refers to is shared. Source: "
        'the volume, as it was called then. "_other" is the sum of the snapshots '
        "beyond --metrics_max_volumes.",
        ["snapshot", "source", "instance"],
        SNAPSHOTS_COLUMNS,
        "Own",
        {"Source": [volume_link("Source")]},
        selector,
        height,
    )


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
            "Memory of the whole process: volumes, code, threads and messages.",
            "bytes",
            [(f"process_resident_memory_bytes {of_ours}", "{{instance}}")],
        ),
        graph(
            "File descriptors",
            "Share of the allowed file descriptors that are open. Each connection "
            "takes one.",
            "percentunit",
            [(f"process_open_fds / process_max_fds {of_ours}", "{{instance}}")],
            most=1,
        ),
    ]
