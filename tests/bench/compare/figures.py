"""Medians of repeated samples, and finding them again by their key."""

import statistics

# What tells rows apart; everything else in a sample is measured.
KEY = ("section", "set", "kind", "depth", "jobs", "server")

# What is summed up over the rounds, where a sample has it.
MEASURES = (
    "ops_per_s",
    "mib_per_s",
    "seconds",
    "p50_us",
    "p99_us",
    "p999_us",
    "cpu_us_per_op",
    "cpu_seconds",
)


def key_of(sample):
    return tuple(sample.get(field) for field in KEY)


def spread(values):
    """How far apart the rounds lie: (max - min) / median."""
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def summarise(samples):
    """One row: the medians of samples that share a key, and their spread."""
    row = {field: samples[0].get(field) for field in KEY}
    row["rounds"] = len(samples)
    for measure in MEASURES:
        values = [s[measure] for s in samples if s.get(measure) is not None]
        if values:
            row[measure] = statistics.median(values)
            row[measure + "_spread"] = spread(values)
            row[measure + "_rounds"] = values
    return row


def summarise_all(samples):
    """Rows in the order in which their keys first appeared."""
    groups = {}
    for sample in samples:
        groups.setdefault(key_of(sample), []).append(sample)
    return [summarise(group) for group in groups.values()]


def find(rows, **wanted):
    """The first row with these fields, or None."""
    for row in rows:
        if all(row.get(field) == value for field, value in wanted.items()):
            return row
    return None


def value(rows, measure, **wanted):
    """A row's measure, or None if there is no such row or measure."""
    row = find(rows, **wanted)
    return row.get(measure) if row else None


def ratio(numerator, denominator):
    """The quotient, or None where a figure is missing or there is no such."""
    if numerator is None or not denominator:
        return None
    return numerator / denominator
