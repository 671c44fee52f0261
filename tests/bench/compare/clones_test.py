import os
import tempfile
import types
import unittest

import clones
import plan
from errors import BenchError


class MeasureTest(unittest.TestCase):
    def test_memory_is_what_each_clone_added(self):
        done = []
        memory = {0: 100, 1: 500, 2: 900}

        figures = clones.measure(
            4,
            lambda: done.append("clone"),
            lambda: done.append("write"),
            lambda: {"files": memory[len(done)]},
        )
        self.assertEqual(done, ["clone", "write"])
        self.assertEqual(figures["image_bytes"], {"files": 100})
        self.assertEqual(figures["clone_bytes"], {"files": 100})
        self.assertEqual(figures["written_bytes"], {"files": 200})
        self.assertGreaterEqual(figures["clone_seconds"], 0)

    def test_blocks_differ_and_are_4_kib(self):
        contents = clones.blocks(3)
        self.assertEqual({len(block) for block in contents}, {4096})
        self.assertEqual(len(set(contents)), 3)

    def test_the_offset_is_within_the_image_and_aligned(self):
        for settings in plan.PLANS.values():
            offset = clones.write_offset(settings.image_bytes)
            self.assertTrue(0 < offset < settings.image_bytes)
            self.assertEqual(offset % plan.MIB, 0)

    def test_files_count_as_what_they_take(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "sparse"), "wb") as file:
                file.truncate(1 << 30)
            self.assertLess(clones.allocated_bytes(folder), 1 << 20)


class MedianTest(unittest.TestCase):
    def test_goes_into_dictionaries(self):
        rounds = [{"a": 1, "b": {"c": 5}}, {"a": 3, "b": {"c": 9}}]
        self.assertEqual(clones.median(rounds), {"a": 2, "b": {"c": 7}})


class RunAllTest(unittest.TestCase):
    of = types.SimpleNamespace(plan=plan.SMOKE)

    def test_what_cannot_be_had_is_said(self):
        def fails(_, image):
            raise BenchError(f"no place for {image}")

        made, missing = clones.run_all(
            self.of, "IMAGE", {"one": lambda *_: {"x": 1}, "two": fails}
        )
        self.assertEqual(made, {"one": {"count": plan.SMOKE.clones, "x": 1}})
        self.assertEqual(missing, {"two": "no place for IMAGE"})

    def test_ours_must_work(self):
        def fails(*_):
            raise BenchError("refused")

        with self.assertRaises(BenchError):
            clones.run_all(self.of, "IMAGE", {plan.RAMVOLD: fails})


if __name__ == "__main__":
    unittest.main()
