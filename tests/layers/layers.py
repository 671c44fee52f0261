#!/usr/bin/python3 -B
"""Holds the layers: each include must follow the table of ARCHITECTURE.md.

A row of the table is a folder, which ends with a slash, or a file without its
ending. The longest one that fits a path is its layer. A layer may use itself and
those in its second column. Tests may use anything.
"""

import os
import re
import subprocess
import sys

ROW = re.compile(r"^\| (`[^|]*) \|([^|]*)\|")
INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)


def names(cell):
    return re.findall(r"`([^`]+)`", cell)


def read_table(text):
    """{layer: the layers that it may use}, of the table under "## Layers"."""
    _, _, section = text.partition("\n## Layers\n")
    section = section.partition("\n## ")[0]
    table = {}
    for line in section.split("\n"):
        row = ROW.match(line)
        if row:
            for layer in names(row[1]):
                table[layer] = {name.rstrip("/") for name in names(row[2])}
    return table


def layer_of(path, table):
    """The longest row that `path`, or its name without the ending, begins with."""
    stem = os.path.splitext(path)[0]
    fits = [
        row for row in table if (row[-1] == "/" and path.startswith(row)) or stem == row
    ]
    return max(fits, key=len, default=None)


def unknown_layers(table):
    """Lines about layers that a row names and no row describes."""
    return [
        f"ARCHITECTURE.md: {layer} may use {used}, which has no row"
        for layer, uses in table.items()
        for used in sorted(uses - {row.rstrip("/") for row in table})
    ]


def wrong_includes(path, text, table, exists):
    """Lines about the includes of the file `path` that are against the table."""
    layer = layer_of(path, table)
    if layer is None:
        return [f"{path}: no row of the layers in ARCHITECTURE.md holds it"]
    wrong = []
    for included in INCLUDE.findall(text):
        used = layer_of(included, table)
        # Libraries and generated code are no files of ours.
        if not exists(included) or used == layer:
            continue
        if used is None or used.rstrip("/") not in table[layer]:
            wrong.append(f"{path} includes {included}: {layer} may not use {used}")
    return wrong


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.realpath(__file__)), "../.."))
    with open("ARCHITECTURE.md", encoding="utf-8") as file:
        table = read_table(file.read())
    if not table:
        sys.exit('ARCHITECTURE.md has no table under "## Layers"')
    listed = subprocess.check_output(
        ["git", "ls-files", "-co", "--exclude-standard", "--", "*.cc", "*.h"],
        text=True,
    )
    sources = {
        path
        for path in listed.split("\n")
        if path and not path.startswith("tests/") and os.path.exists(path)
    }
    wrong = unknown_layers(table)
    for path in sorted(sources):
        with open(path, encoding="utf-8") as file:
            wrong += wrong_includes(path, file.read(), table, sources.__contains__)
    print("".join(line + "\n" for line in wrong), end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
