#!/usr/bin/python3 -B
"""layers.py finds what is against the table, and nothing else."""

import unittest

import layers

TABLE = """
# Architecture

## Layers

| folder | may use | holds |
|---|---|---|
| `base/` | | what all need |
| `engine/` | `base` | volumes |
| `bridge/`, `bridge/protocol/` | `base`, `bridge/protocol` | sessions |
| `bridge/main` | `base`, `bridge`, `engine` | a program |

## Words

| `word` | `base` | no layer |
"""
FILES = {"base/mutex.h", "engine/volume.h", "bridge/session.h", "bridge/main.cc"}


class LayersTest(unittest.TestCase):
    def setUp(self):
        self.table = layers.read_table(TABLE)

    def wrong(self, path, *included):
        text = "".join(f'#include "{name}"\n' for name in included)
        return layers.wrong_includes(path, text, self.table, FILES.__contains__)

    def test_reads_the_table_of_its_section_only(self):
        self.assertEqual(
            sorted(self.table),
            ["base/", "bridge/", "bridge/main", "bridge/protocol/", "engine/"],
        )
        self.assertEqual(self.table["engine/"], {"base"})
        self.assertEqual(layers.unknown_layers(self.table), [])

    def test_a_planted_include_is_named_with_both_files(self):
        self.assertEqual(
            self.wrong("base/door.cc", "engine/volume.h"),
            ["base/door.cc includes engine/volume.h: base/ may not use engine/"],
        )

    def test_what_the_table_allows_passes(self):
        self.assertEqual(
            self.wrong("engine/index.cc", "base/mutex.h", "engine/volume.h"), []
        )

    def test_libraries_and_generated_code_pass(self):
        self.assertEqual(self.wrong("base/door.cc", "absl/time/time.h"), [])

    def test_a_file_may_have_a_row_of_its_own(self):
        self.assertEqual(self.wrong("bridge/main.cc", "engine/volume.h"), [])
        self.assertEqual(len(self.wrong("bridge/session.cc", "engine/volume.h")), 1)

    def test_a_folder_without_a_row_is_named(self):
        self.assertEqual(
            self.wrong("attic/old.cc"),
            ["attic/old.cc: no row of the layers in ARCHITECTURE.md holds it"],
        )

    def test_a_row_must_not_name_what_has_no_row(self):
        table = {"base/": {"attic"}}
        self.assertEqual(
            layers.unknown_layers(table),
            ["ARCHITECTURE.md: base/ may use attic, which has no row"],
        )


if __name__ == "__main__":
    unittest.main()
