"""The table of a soak, a row for each second, and its plot."""

import csv
import dataclasses
import time

import bounds
from memory_watch import Sample

COUNTS = ["op ", "refused ", "busy", "attack ", "violated "]
FIELDS = (
    ["seconds", "seed"]
    + [field.name for field in dataclasses.fields(Sample)]
    + ["bound", "slowest_call_seconds"]
    + [prefix.strip() for prefix in COUNTS]
)
# More points than that no plot shows.
_MOST_POINTS = 1500


class Sheet:
    """Of all rounds. What happened within a second is its maximum. For one thread
    at a time."""

    def __init__(self, path):
        self._start = time.monotonic()
        self._file = open(path, "w", encoding="ascii", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerow(FIELDS)
        self._seed = None

    def begin(self, seed):
        """A new round."""
        self._seed = seed
        self._most = None
        self._next = time.monotonic() + 1

    def add(self, sample, record):
        values = dataclasses.astuple(sample)
        self._most = [max(pair) for pair in zip(values, self._most or values)]
        if time.monotonic() >= self._next:
            self.end_row(record)

    def end_row(self, record):
        """Writes what was added since the last row."""
        if not self._most:
            return
        bound = bounds.resident_bytes(Sample(*self._most).limit)
        self._rows.writerow(
            [f"{time.monotonic() - self._start:.1f}", self._seed, *self._most]
            + [bound, f"{record.take_slowest():.3f}"]
            + [record.total(prefix) for prefix in COUNTS]
        )
        self._file.flush()
        self.begin(self._seed)

    def close(self):
        self._file.close()


def _columns(path):
    """The table by columns, of numbers; so many rows as one that they fit."""
    with open(path, encoding="ascii", newline="") as file:
        rows = [
            {name: float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]
    step = -(-len(rows) // _MOST_POINTS) or 1
    groups = [rows[at : at + step] for at in range(0, len(rows), step)]
    return {
        name: [max(row[name] for row in group) for group in groups] for name in FIELDS
    }


def plot(sheet_path, svg_path, title):
    """Draws the table as SVG: memory, and how long honest calls took."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["font.size"] = 9
    from matplotlib import pyplot

    columns = _columns(sheet_path)
    minutes = [seconds / 60 for seconds in columns["seconds"]]
    figure, (memory, calls) = pyplot.subplots(
        2, 1, figsize=(10, 7), sharex=True, height_ratios=[3, 2]
    )
    figure.suptitle(title)
    _plot_memory(memory, minutes, columns)
    _plot_calls(calls, minutes, columns)
    for axes in (memory, calls):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.savefig(svg_path, bbox_inches="tight")
    pyplot.close(figure)


def _plot_memory(axes, minutes, columns):
    for name, label, style in [
        ("bound", "bound: limit + clients + process", "r--"),
        ("peak", "most resident of the round", "r:"),
        ("resident", "resident", "r-"),
        ("limit", "memory limit", "b--"),
        ("used", "used by volumes", "b-"),
    ]:
        mebibytes = [value / bounds.MIB for value in columns[name]]
        axes.plot(minutes, mebibytes, style, label=label, linewidth=1)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("ramvold's memory, MiB")


def _plot_calls(axes, minutes, columns):
    slowest = [1000 * seconds for seconds in columns["slowest_call_seconds"]]
    axes.plot(minutes, slowest, "g-", linewidth=1, label="slowest honest call")
    axes.axhline(
        1000 * bounds.SLOW_CLIENT_SECONDS, color="g", ls="--", lw=1, label="bound"
    )
    axes.set_yscale("log")
    axes.set_ylabel("ms, the slowest of each second")
    axes.set_xlabel("minutes")
