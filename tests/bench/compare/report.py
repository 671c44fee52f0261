"""Writes a run's results as JSON and as Markdown."""

import json
import os

import figures
import plan
import targets
import vhost

# Which peers a row of ramvold's is divided by.
_PEERS = (plan.NBDKIT_ZSTD, plan.NBDKIT_SPARSE, plan.NBDKIT_NULL)


def number(value, digits=3):
    """A figure as people read it; an en dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    # As many places as give so many significant digits.
    places = max(0, digits - len(str(int(abs(value)))))
    return f"{value:.{places}f}"


def mib(value):
    return None if value is None else value / plan.MIB


def table(header, rows):
    """A Markdown table; the first column is text, the others are figures."""
    lines = [
        "| " + " | ".join(header) + " |",
        "|---|" + "---:|" * (len(header) - 1),
    ]
    for row in rows:
        lines.append("| " + " | ".join(number(cell) for cell in row) + " |")
    return "\n".join(lines)


def _machine_section(meta):
    versions = "; ".join(v for v in meta["versions"].values() if v)
    return "\n".join(
        [
            f"{meta['date']}; {meta['cpu']}, {meta['cores']} cores, "
            f"{number(meta['memory_bytes'] / plan.GIB)} GiB; {meta['system']}, "
            f"Linux {meta['kernel']}.",
            "",
            f"{versions}. Plan: {meta['plan']}, {meta['rounds']} rounds of "
            f"A B A B, medians; load average before: "
            f"{meta['load_average_before']:.2f}.",
        ]
    )


def _targets_section(results):
    words = {True: "yes", False: "**no**", None: "not measured"}
    rows = [
        (row["work"], row["target"], row["measured"], words[row["reached"]])
        for row in results["targets"]
    ]
    return table(("work", "target", "measured", "reached"), rows)


# What the first tables show of all servers, at this depth and one connection.
_SUMMARY_DEPTH = 16
_SUMMARIES = (
    ("Operations a second", "ops_per_s"),
    ("p99 latency, µs", "p99_us"),
    ("Server CPU, µs an operation", "cpu_us_per_op"),
)


def _summary_table(rows, measure):
    """Kinds of work down, servers across."""
    names = [s for s in plan.SERVERS if figures.find(rows, server=s)]
    shapes = dict.fromkeys((row["kind"], row["set"]) for row in rows)
    body = []
    for kind, set_name in shapes:
        wanted = {"kind": kind, "set": set_name}
        values = [figures.value(rows, measure, server=name, **wanted) for name in names]
        body.append((f"{kind}, {set_name}", *values))
    return table(("", *names), body)


def _summary_section(results):
    rows = [
        row
        for row in results["rows"]
        if (row["section"], row.get("depth"), row.get("jobs"))
        == ("fio", _SUMMARY_DEPTH, 1)
    ]
    if not rows:
        return ""
    return "\n\n".join(
        f"### {title}\n\n{_summary_table(rows, measure)}"
        for title, measure in _SUMMARIES
    )


def _fio_row(row, rows):
    same = {field: row[field] for field in figures.KEY if field != "server"}
    ratios = [
        figures.ratio(
            row["ops_per_s"],
            figures.value(rows, "ops_per_s", server=peer, **same),
        )
        for peer in _PEERS
    ]
    return (
        row["server"],
        row["ops_per_s"],
        f"±{row['ops_per_s_spread'] * 50:.0f} %",
        row["mib_per_s"],
        row.get("p50_us"),
        row.get("p99_us"),
        row.get("p999_us"),
        row.get("cpu_us_per_op"),
        *ratios,
    )


_FIO_HEADER = (
    "server",
    "ops/s",
    "spread",
    "MiB/s",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "server CPU µs/op",
    "x zstd",
    "x sparse",
    "x null",
)


def _fio_section(results):
    rows = [row for row in results["rows"] if row["section"] == "fio"]
    parts = []
    for shape in dict.fromkeys(figures.key_of(row)[1:5] for row in rows):
        set_name, kind, depth, jobs = shape
        group = [row for row in rows if figures.key_of(row)[1:5] == shape]
        parts.append(
            f"### {kind}, {set_name}, depth {depth}, "
            f"{jobs} connection{'s' if jobs > 1 else ''}\n\n"
            + table(_FIO_HEADER, [_fio_row(row, rows) for row in group])
        )
    return "\n\n".join(parts)


_VHOST_HEADER = (
    "",
    *(f"depth {depth}" for depth in vhost.DEPTHS),
    *(f"x NBD, {depth}" for depth in vhost.DEPTHS),
    *(f"CPU µs/op, {depth}" for depth in vhost.DEPTHS),
)


def _vhost_row(way, rows):
    """Of one kind and set: operations a second, as ratios, and CPU time."""

    def values(measure, server):
        return [
            figures.value(rows, measure, server=server, depth=depth)
            for depth in vhost.DEPTHS
        ]

    rates = values("ops_per_s", way)
    ratios = map(figures.ratio, rates, values("ops_per_s", vhost.NBD))
    return (way, *rates, *ratios, *values("cpu_us_per_op", way))


def _vhost_section(results):
    rows = [row for row in results["rows"] if row["section"] == "vhost"]
    parts = []
    for kind, set_name in dict.fromkeys((row["kind"], row["set"]) for row in rows):
        group = [row for row in rows if (row["kind"], row["set"]) == (kind, set_name)]
        body = [_vhost_row(way, group) for way in vhost.WAYS]
        parts.append(
            f"### {kind}, {set_name}, operations a second\n\n"
            + table(_VHOST_HEADER, body)
        )
    return "\n\n".join(parts)


def _copy_section(results):
    rows = [row for row in results["rows"] if row["section"] == "copy"]
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    rows.sort(key=lambda row: kinds.index(row["kind"]))
    body = []
    for row in rows:
        peer = figures.value(rows, "seconds", kind=row["kind"], server=plan.NBDKIT_ZSTD)
        body.append(
            (
                f"{row['kind']}: {row['server']}",
                row["seconds"],
                f"±{row['seconds_spread'] * 50:.0f} %",
                row["mib_per_s"],
                row["cpu_seconds"],
                figures.ratio(peer, row["seconds"]),
            )
        )
    header = (
        "copy",
        "seconds",
        "spread",
        "MiB of files/s",
        "server CPU s",
        "x zstd",
    )
    image = results["image"]
    return (
        f"An ext4 image of {number(mib(image['size_bytes']))} MiB with "
        f"{number(mib(image['data_bytes']))} MiB of files of this machine's "
        "/usr.\n\n" + table(header, body)
    )


_MEMORY_ROWS = (
    ("resident at start, MiB", "rss_start_bytes", mib),
    ("resident after the copy, MiB", "rss_filled_bytes", mib),
    ("resident after a rest, MiB", "rss_rested_bytes", mib),
    ("stored, MiB (`ramvol stat`)", "stored_bytes", mib),
    ("memory, MiB (`ramvol stat`)", "memory_bytes", mib),
    ("ratio of data to stored", "stored_ratio", None),
    ("resident over stored", "resident_over_stored", None),
    ("resident after trimming everything, MiB", "rss_trimmed_bytes", mib),
    ("... of before", "left_after_trim", None),
    ("empty volume of 2^63 - 1 bytes, bytes resident", "empty_rss_bytes", None),
    ("... by `ramvol stat`", "empty_memory_bytes", None),
    ("bytes resident for each distant 4 KiB write", "distant_rss_bytes", None),
    ("... by `ramvol stat`", "distant_memory_bytes", None),
)


def _memory_section(results):
    memory = results["memory"]
    rows = []
    for title, field, convert in _MEMORY_ROWS:
        values = [memory[server].get(field) for server in memory]
        rows.append((title, *(convert(v) if convert else v for v in values)))
    return table(("", *memory), rows)


_CLONES_HEADER = (
    "",
    "the image, MiB",
    "clones, s",
    "µs each",
    "bytes each",
    "4 KiB to each, s",
    "µs each",
    "bytes each then",
)
# Where a way has more than one figure of memory.
_COUNTED = "counted"


def _clones_rows(way, made):
    for kind in made["clone_bytes"]:
        yield (
            f"{way}, as it counts" if kind == _COUNTED else way,
            mib(made["image_bytes"][kind]),
            made["clone_seconds"],
            made["clone_seconds"] * 1e6 / made["count"],
            made["clone_bytes"][kind],
            made["write_seconds"],
            made["write_seconds"] * 1e6 / made["count"],
            made["written_bytes"][kind],
        )


def _clones_section(results):
    rows = [
        row
        for way, made in results["clones"].items()
        for row in _clones_rows(way, made)
    ]
    count = next(iter(results["clones"].values()))["count"]
    return f"{number(count)} clones of the image.\n\n" + table(_CLONES_HEADER, rows)


def _grpc_section(results):
    fields = (
        "name",
        "ops_per_s",
        "ratio",
        "against",
        "p50_us",
        "p99_us",
        "server_cpu_us_per_op",
    )
    header = ("", "ops/s", "ratio", "to", "p50 µs", "p99 µs", "server CPU µs/op")
    return table(
        header,
        [[row.get(field) for field in fields] for row in results["grpc"]],
    )


def _scale_section(results):
    """Each part of the scale section brings its own table."""
    return "\n\n".join(
        f"### {part['title']}\n\n{table(part['header'], part['rows'])}"
        for part in results["scale"].values()
    )


def _plots_section(results):
    return "\n".join(f"![{name}]({name}.svg)" for name in results["plots"])


def _commands_section(results):
    lines = []
    for name, commands in results["commands"].items():
        lines.append(f"- {name}: " + "; ".join(f"`{c}`" for c in commands))
    return "\n".join(lines)


def _notes_section(results):
    return "\n".join(f"- {note}" for note in results["notes"])


_SECTIONS = (
    ("Targets", "targets", _targets_section),
    ("fio, depth 16, 1 connection", "rows", _summary_section),
    ("Plots", "plots", _plots_section),
    ("vhost-user", "rows", _vhost_section),
    ("File system image", "image", _copy_section),
    ("Memory", "memory", _memory_section),
    ("Clones", "clones", _clones_section),
    ("gRPC", "grpc", _grpc_section),
    ("Scale", "scale", _scale_section),
    ("fio, all runs", "rows", _fio_section),
    ("Servers", "commands", _commands_section),
    ("Notes", "notes", _notes_section),
)


def markdown(results):
    parts = ["# ramvol side by side", _machine_section(results["meta"])]
    for title, field, section in _SECTIONS:
        body = section(results) if results.get(field) else ""
        if body:
            parts.append(f"## {title}\n\n{body}")
    return "\n\n".join(parts) + "\n"


def write(results, directory):
    """Writes results.json and results.md, after each section of a run."""
    results["targets"] = targets.evaluate(results)
    _write_file(
        os.path.join(directory, "results.json"),
        json.dumps(results, indent=1, ensure_ascii=False),
    )
    _write_file(os.path.join(directory, "results.md"), markdown(results))


def _write_file(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
