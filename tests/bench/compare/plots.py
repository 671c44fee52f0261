"""Draws a run's results as SVG."""

import os

import figures
import plan
import vhost

_COLOURS = {
    plan.RAMVOLD: "#0b6e4f",
    plan.BRIDGE: "#73c2a5",
    plan.NBDKIT_ZSTD: "#c8553d",
    plan.NBDKIT_SPARSE: "#e0a458",
    plan.NBDKIT_MALLOC: "#a3a3a3",
    plan.NBDKIT_NULL: "#5c5c5c",
}
_BAR_HEIGHT = 0.8


def _pyplot():
    import matplotlib

    matplotlib.use("svg")
    # The same figures give the same file.
    matplotlib.rcParams["svg.hashsalt"] = "ramvol"
    matplotlib.rcParams["font.size"] = 9
    from matplotlib import pyplot

    return pyplot


def _save(figure, directory, name):
    figure.savefig(
        os.path.join(directory, name + ".svg"),
        metadata={"Date": None},
        bbox_inches="tight",
    )
    _pyplot().close(figure)
    return name


def _add_legend(axes):
    """Beside the axes, where it hides nothing."""
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))


def _shapes(rows):
    """Kinds and sets that were run with one connection at depth 16."""
    return list(
        dict.fromkeys(
            (row["kind"], row["set"])
            for row in rows
            if row["depth"] == 16 and row["jobs"] == 1
        )
    )


def _bars(rows, shapes, measure, title, directory, name):
    """Groups of horizontal bars: a group for each shape, a bar for a server."""
    if not shapes:
        return None
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(8, 0.9 * len(shapes) + 1))
    shown = [s for s in plan.SERVERS if figures.find(rows, server=s)]
    height = _BAR_HEIGHT / len(shown)
    for index, server in enumerate(shown):
        values = [
            figures.value(
                rows,
                measure,
                kind=kind,
                set=set_name,
                depth=16,
                jobs=1,
                server=server,
            )
            or 0
            for kind, set_name in shapes
        ]
        axes.barh(
            [place + index * height for place in range(len(shapes))],
            values,
            height,
            label=server,
            color=_COLOURS[server],
        )
    middle = (_BAR_HEIGHT - height) / 2
    axes.set_yticks([place + middle for place in range(len(shapes))])
    axes.set_yticklabels([f"{kind}\n{set_name}" for kind, set_name in shapes])
    axes.invert_yaxis()
    if measure.startswith("p"):
        axes.set_xscale("log")
    axes.set_xlabel(title)
    axes.grid(axis="x", alpha=0.3)
    _add_legend(axes)
    return _save(figure, directory, name)


def _fio_plots(results, directory):
    rows = [row for row in results["rows"] if row["section"] == "fio"]
    shapes = _shapes(rows)
    small = [s for s in shapes if plan.KINDS[s[0]].block_bytes < plan.MIB]
    large = [s for s in shapes if s not in small]
    where = "depth 16, 1 connection"
    return [
        _bars(
            *(rows, small, "ops_per_s"),
            *(f"operations a second, {where}", directory, "throughput-4k"),
        ),
        _bars(
            *(rows, large, "mib_per_s"),
            *(f"MiB a second, {where}", directory, "throughput-1m"),
        ),
        _bars(
            *(rows, small, "p99_us"),
            *(f"p99 latency in µs, {where}", directory, "latency-p99"),
        ),
        _bars(
            *(rows, small, "cpu_us_per_op"),
            *(f"server CPU µs an operation, {where}", directory, "server-cpu"),
        ),
    ] + [
        _depth_plot(rows, *shape, directory)
        for shape in small
        if plan.KINDS[shape[0]].random
    ]


def _depth_plot(rows, kind, set_name, directory):
    """Latency against throughput, a point for each depth."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for server in plan.SERVERS:
        points = [
            row
            for row in rows
            if (row["kind"], row["set"], row["jobs"], row["server"])
            == (kind, set_name, 1, server)
        ]
        points.sort(key=lambda row: row["depth"])
        if len(points) > 1:
            axes.plot(
                [row["ops_per_s"] for row in points],
                [row["p99_us"] for row in points],
                marker="o",
                label=server,
                color=_COLOURS[server],
            )
    if not axes.lines:
        pyplot.close(figure)
        return None
    axes.set_yscale("log")
    axes.set_xlabel("operations a second")
    axes.set_ylabel("p99 latency, µs")
    axes.set_title(f"{kind}, {set_name}, depths 1 to 64, 1 connection")
    axes.grid(alpha=0.3)
    _add_legend(axes)
    name = f"depth {kind} {set_name}".lower()
    name = "".join(c if c.isalnum() else "-" for c in name)
    return _save(figure, directory, name)


def _line_plot(name, title, asked, directory):
    """Draws what is asked for: lines over one axis."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for label, points in asked["lines"].items():
        if not points:
            continue
        axes.plot(
            *zip(*points),
            marker="o" if len(points) < 50 else None,
            label=label,
            color=_COLOURS.get(label),
        )
    if asked.get("log_x"):
        axes.set_xscale("log", base=2)
        lines = asked["lines"].values()
        places = sorted({x for line in lines for x, _ in line})
        axes.set_xticks(places, [f"{x:,.0f}" for x in places])
        axes.minorticks_off()
    axes.set_ylim(0, 1.08 * axes.dataLim.ymax)
    axes.set_xlabel(asked["x"])
    axes.set_ylabel(asked["y"])
    axes.set_title(title, wrap=True)
    axes.grid(alpha=0.3)
    _add_legend(axes)
    return _save(figure, directory, name)


def _vhost_plots(results, directory):
    rows = [row for row in results["rows"] if row["section"] == "vhost"]
    names = []
    for kind, set_name in dict.fromkeys((row["kind"], row["set"]) for row in rows):
        title = f"{kind}, {set_name}, by vhost-user and NBD"
        name = "".join(
            c if c.isalnum() else "-" for c in f"vhost {kind} {set_name}".lower()
        )
        asked = vhost.lines(rows, set_name, kind)
        names.append(_line_plot(name, title, asked, directory))
    return names


def draw(results, directory):
    """Draws all that there are figures for; the plots' names."""
    names = _fio_plots(results, directory)
    for part in results.get("scale", {}).values():
        for name, asked in part["plots"].items():
            names.append(_line_plot("scale-" + name, part["title"], asked, directory))
    names += _vhost_plots(results, directory)
    return [name for name in names if name]
