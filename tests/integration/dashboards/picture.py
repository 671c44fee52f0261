"""Draws a dashboard about as Grafana would show it, from series it was given."""

import io
import math
import re

_CELL = (0.62, 0.36)  # Inches of a cell of Grafana's grid.
_COLOURS = [
    "#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#e02f44", "#b877d9",
    "#8ab8ff", "#ffa6b0", "#96d98d", "#ffcb7d", "#c0d8ff", "#deb6f2",
]  # fmt: skip
_NAMED = {"green": "#56a64b", "yellow": "#e0b400", "red": "#e02f44"}
_TEXT, _BACK, _PANEL, _GRID = "#24292e", "#f4f5f5", "white", "#e3e5e8"
_MOST_LINES = 12


def draw(dashboard, results, path):
    """`results` is a list of (Query, series); the picture is a PNG."""
    pyplot = _pyplot()
    bottom = max(
        panel["gridPos"]["y"] + panel["gridPos"]["h"]
        for panel in dashboard.json["panels"]
    )
    width, height = 24 * _CELL[0], bottom * _CELL[1] + 0.4
    figure = pyplot.figure(figsize=(width, height), facecolor=_BACK)
    figure.text(
        0.1 / width,
        1 - 0.25 / height,
        dashboard.json["title"],
        fontsize=11,
        color=_TEXT,
    )
    for panel in dashboard.json["panels"]:
        place = panel["gridPos"]
        box = (
            (place["x"] * _CELL[0] + 0.05) / width,
            1 - (0.4 + (place["y"] + place["h"]) * _CELL[1] - 0.04) / height,
            (place["w"] * _CELL[0] - 0.1) / width,
            (place["h"] * _CELL[1] - 0.08) / height,
        )
        of_panel = [made for made in results if made[0].panel == panel["id"]]
        _draw_panel(figure, panel, of_panel, box, (width, height))
    _save(figure, path)
    pyplot.close(figure)


def _save(figure, path):
    """Few colours suffice, and make a small file."""
    from PIL import Image

    whole = io.BytesIO()
    figure.savefig(whole, dpi=80)
    Image.open(whole).convert("RGB").quantize(256).save(path, optimize=True)


def _pyplot():
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["font.size"] = 7
    matplotlib.rcParams["text.color"] = _TEXT
    from matplotlib import pyplot

    return pyplot


def _draw_panel(figure, panel, results, box, size):
    left, low, wide, high = box
    if panel["type"] == "row":
        figure.text(left, low + high / 4, panel["title"], fontsize=9, weight="bold")
        return
    frame = figure.add_axes(box, facecolor=_PANEL)
    frame.set(xticks=[], yticks=[])
    for side in frame.spines.values():
        side.set_color(_GRID)
    frame.text(
        0.08 / (wide * size[0]),
        1 - 0.06 / (high * size[1]),
        panel["title"],
        va="top",
        fontsize=8,
        weight="medium",
        transform=frame.transAxes,
    )
    inner = (
        left + 0.6 / size[0],
        low + 0.5 / size[1],
        wide - 0.75 / size[0],
        high - 0.85 / size[1],
    )
    if panel["type"] == "stat":
        _draw_stat(frame, panel, results)
    elif panel["type"] == "table":
        _draw_table(frame, panel, results)
    elif panel["type"] == "heatmap":
        _draw_heatmap(_axes(figure, inner, panel), panel, results)
    else:
        _draw_lines(_axes(figure, inner, panel), panel, results)


def _axes(figure, box, panel):
    axes = figure.add_axes(box, facecolor="none")
    axes.grid(color=_GRID, linewidth=0.5)
    axes.tick_params(length=0, labelsize=6.5, colors="#5a5f66")
    for side in axes.spines.values():
        side.set_visible(False)
    return axes


def _format_axes(axes, unit):
    axes.margins(x=0)
    axes.xaxis.set_major_formatter(_clock)
    axes.xaxis.set_major_locator(_pyplot().MaxNLocator(6, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: format_value(value, unit))
    axes.yaxis.set_minor_formatter(lambda *_: "")
    top = axes.get_ylim()[1]
    if unit in ("bytes", "binBps") and top > 0:
        step = 2 ** math.ceil(math.log2(top / 6))
        axes.set_yticks([i * step for i in range(math.floor(top / step) + 1)])


def _clock(seconds, _):
    return f"{int(seconds // 60)}:{int(seconds % 60):02}"


def _seconds(points, start):
    return [at - start for at, _ in points]


def _start(results):
    return min(
        (points[0][0] for _, series in results for _, points in series), default=0
    )


def _legend(query, labels):
    return re.sub(
        r"{{\s*(\w+)\s*}}", lambda found: labels.get(found.group(1), ""), query.legend
    ).strip()


def _legend_columns(panel, names):
    """As many as fit into the panel's width."""
    room = 14 * panel["gridPos"]["w"]  # Characters.
    return max(1, min(6, room // (max(map(len, names), default=1) + 5)))


def _draw_lines(axes, panel, results):
    defaults = panel["fieldConfig"]["defaults"]
    start = _start(results)
    lines = [
        (
            _legend(query, labels),
            _seconds(points, start),
            [value for _, value in points],
        )
        for query, series in results
        for labels, points in series
    ]
    if defaults["custom"]["stacking"]["mode"] == "normal":
        _stack(axes, lines)
    else:
        for i, (name, times, values) in enumerate(lines):
            colour = _COLOURS[i % len(_COLOURS)]
            axes.plot(times, values, linewidth=1, color=colour, label=name)
            if "min" in defaults:
                axes.fill_between(times, values, color=colour, alpha=0.1, linewidth=0)
    if "scaleDistribution" in defaults["custom"]:
        axes.set_yscale("log")
    if "min" in defaults:
        axes.set_ylim(bottom=0, top=defaults.get("max"))
    _format_axes(axes, defaults["unit"])
    handles, names = axes.get_legend_handles_labels()
    if len(names) > _MOST_LINES:
        handles, names = handles[:_MOST_LINES], names[:_MOST_LINES]
    axes.legend(
        handles, names, loc="upper left", bbox_to_anchor=(-0.08, -0.12),
        ncol=_legend_columns(panel, names), fontsize=5.5, frameon=False, handlelength=1, columnspacing=1, borderpad=0,
    )  # fmt: skip


def _stack(axes, lines):
    """Missing points count as zero."""
    times = sorted({at for _, line, _ in lines for at in line})
    rows = []
    for _, line, values in lines:
        known = dict(zip(line, values))
        rows.append([_number(known.get(at, 0)) for at in times])
    if rows:
        axes.stackplot(
            times,
            rows,
            labels=[name for name, _, _ in lines],
            colors=_COLOURS,
            alpha=0.6,
        )


def _number(value):
    return 0 if math.isnan(value) else value


def _draw_heatmap(axes, panel, results):
    """Counts by bucket: each series has what is up to its `le`."""
    series = sorted(
        ((float(labels["le"]), dict(points)) for _, all_of in results
         for labels, points in all_of),
        key=lambda one: one[0],
    )  # fmt: skip
    times = sorted({at for _, points in series for at in points})
    rows, below = [], [0] * len(times)
    for _, points in series:
        upto = [_number(points.get(at, 0)) for at in times]
        rows.append([max(a - b, 0) ** 0.5 for a, b in zip(upto, below)])
        below = upto
    used = [i for i, counts in enumerate(rows) if any(counts)]
    if not used:
        return
    first, last = max(used[0] - 1, 0), min(used[-1] + 1, len(rows) - 1)
    axes.grid(False)
    axes.imshow(
        rows[first : last + 1],
        origin="lower",
        aspect="auto",
        cmap="Oranges",
        interpolation="nearest",
        extent=(0, times[-1] - times[0], -0.5, last - first + 0.5),
    )
    names = [
        "more" if math.isinf(upto) else format_value(upto, "s") for upto, _ in series
    ][first : last + 1]
    step = max(len(names) // 8, 1)
    _format_axes(axes, "s")
    axes.set_yticks(range(0, len(names), step), names[::step])


def _draw_stat(frame, panel, results):
    defaults = panel["fieldConfig"]["defaults"]
    points = results[0][1][0][1] if results[0][1] else []
    value = points[-1][1] if points else math.nan
    colour = _NAMED["green"]
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            colour = _NAMED[step["color"]]
    behind = frame.inset_axes((0, 0, 1, 0.3))
    behind.axis("off")
    behind.margins(0)
    behind.fill_between(
        [at for at, _ in points], [one for _, one in points], color=colour, alpha=0.15
    )
    text = format_value(value, defaults["unit"], defaults.get("decimals"))
    frame.text(
        0.5, 0.4, text, fontsize=17, ha="center", va="center", color=colour,
        transform=frame.transAxes,
    )  # fmt: skip


def _properties(panel, name):
    """The fields' values of a property."""
    return {
        override["matcher"]["options"]: prop["value"]
        for override in panel["fieldConfig"]["overrides"]
        for prop in override["properties"]
        if prop["id"] == name
    }


def _table_rows(panel, results):
    """The fields by which rows differ, the other fields, and the rows."""
    names = panel["transformations"][1]["options"]["renameByName"]
    keys = [name for name in names if not name.startswith("Value #")]
    columns = [names[f"Value #{target['refId']}"] for target in panel["targets"]]
    rows = {}
    for column, (_, series) in zip(columns, results):
        for labels, points in series:
            key = tuple(labels.get(name, "") for name in keys)
            rows.setdefault(key, {})[column] = points[-1][1]
    return [names[key] for key in keys], columns, rows


def _draw_table(frame, panel, results):
    keys, columns, rows = _table_rows(panel, results)
    units, links = _properties(panel, "unit"), _properties(panel, "links")
    default = panel["fieldConfig"]["defaults"]["unit"]
    by = panel["options"]["sortBy"][0]["displayName"]
    order = sorted(rows, key=lambda key: -rows[key].get(by, 0))
    xs = [0.01 + 0.12 * i for i in range(len(keys))]
    xs += [0.1 + 0.12 * len(keys) + 0.075 * i for i in range(len(columns))]
    lines = [[*keys, *columns]] + [
        [*key]
        + [
            format_value(rows[key].get(name, math.nan), units.get(name, default))
            for name in columns
        ]
        for key in order[: panel["gridPos"]["h"]]
    ]
    step = 0.765 / panel["gridPos"]["h"]  # 0.085 where it is nine high.
    for i, line in enumerate(lines):
        for j, (x, text) in enumerate(zip(xs, line)):
            linked = i and lines[0][j] in links
            frame.text(
                x, 1 - (1.65 + i) * step, text,
                ha="left" if j < len(keys) else "right", va="top",
                fontsize=7.5, weight="bold" if i == 0 else "normal",
                color="#1f62e0" if linked else _TEXT, transform=frame.transAxes,
            )  # fmt: skip


# --- Units ---

_BINARY = ["", "Ki", "Mi", "Gi", "Ti", "Pi"]
_DECIMAL = ["", " K", " Mil", " Bil"]
_TIMES = [
    ("weeks", 7 * 86400),
    ("days", 86400),
    ("hours", 3600),
    ("min", 60),
    ("s", 1),
    ("ms", 1e-3),
    ("µs", 1e-6),
]


def _digits(value, decimals):
    return f"{value:.{decimals}f}" if decimals is not None else f"{value:.3g}"


def _scaled(value, step, names, decimals):
    power = 0
    while abs(value) >= step and power < len(names) - 1:
        value, power = value / step, power + 1
    # A number of three digits may round up to four.
    if abs(value) >= 100:
        return f"{value:.0f}", names[power]
    return _digits(value, decimals), names[power]


def format_value(value, unit, decimals=None):
    """A value in one of Grafana's units, in few characters."""
    if math.isnan(value):
        return "none"
    if unit in ("bytes", "binBps"):
        digits, name = _scaled(value, 1024, _BINARY, decimals)
        return f"{digits} {name}B" + ("/s" if unit == "binBps" else "")
    if unit == "percentunit":
        return _digits(100 * value, decimals) + "%"
    if unit in ("s", "dtdurations"):
        for name, seconds in _TIMES:
            if value >= seconds:
                return f"{_digits(value / seconds, decimals)} {name}"
        return f"{value * 1e6:.3g} µs"
    suffix = {"none": "", "ops": " ops/s", "reqps": " req/s"}[unit]
    digits, name = _scaled(value, 1000, _DECIMAL, decimals)
    return digits + name + suffix
