#!/usr/bin/env python3
"""Writes the dashboards in dashboards/, which have much in common, from the modules
in source/. Edit those, run this, and commit both. A test fails when they differ.

Argument: the folder to write to; by default dashboards/ beside this file.
"""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "source"))

import calls
import csi
import nbd
import overview
import volume

DASHBOARDS = {
    "overview": overview,
    "volume": volume,
    "nbd": nbd,
    "grpc": calls,
    "csi": csi,
}


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "dashboards")
    for name, module in DASHBOARDS.items():
        with open(os.path.join(folder, f"{name}.json"), "w") as file:
            json.dump(module.make(), file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
