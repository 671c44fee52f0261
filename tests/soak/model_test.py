#!/usr/bin/python3 -B
"""The model finds what it is there to find."""

import unittest

from content import BLOCK, ZEROES, Content
from model import Volume


class ModelTest(unittest.TestCase):
    def setUp(self):
        self.content = Content(1)
        self.volume = Volume(3, "v", 10 * BLOCK, self.content)

    def write(self, offset, length, certain=True, kind=0):
        version, data = self.volume.new_data(offset, length, kind)
        self.volume.changed(offset, length, version, certain)
        return data

    def test_a_new_volume_is_zeroes(self):
        self.assertIsNone(self.volume.mismatch(0, ZEROES * 10))
        self.assertIn("block 1", self.volume.mismatch(BLOCK, b"x" + ZEROES[1:]))

    def test_an_acknowledged_write_is_all_that_may_be_there(self):
        for kind in range(8):
            old = self.write(100, 3 * BLOCK, kind=kind)
            new = self.write(100, 3 * BLOCK, kind=kind)
            self.assertIsNone(self.volume.mismatch(100, new))
            self.assertIn("block 0", self.volume.mismatch(100, old))
            self.assertIsNotNone(self.volume.mismatch(100, bytes(len(new))))

    def test_a_write_of_unknown_outcome_may_be_there_or_not(self):
        old = self.write(0, 2 * BLOCK)
        new = self.write(0, 2 * BLOCK, certain=False)
        self.assertIsNone(self.volume.mismatch(0, old))
        self.assertIsNone(self.volume.mismatch(0, new))
        # Block by block.
        self.assertIsNone(self.volume.mismatch(0, old[:BLOCK] + new[BLOCK:]))
        self.assertIsNotNone(self.volume.mismatch(0, old[:2000] + new[2000:]))
        last = self.write(0, 2 * BLOCK)
        self.assertIsNotNone(self.volume.mismatch(0, new))
        self.assertIsNone(self.volume.mismatch(0, last))

    def test_what_was_found_is_all_that_may_be_there_from_then_on(self):
        old = self.write(0, 2 * BLOCK)
        new = self.write(0, 2 * BLOCK, certain=False)
        found = old[:BLOCK] + new[BLOCK:]
        self.assertIsNotNone(self.volume.settle(0, old[:2000] + new[2000:]))
        self.assertIsNone(self.volume.settle(100, found[100:8000]))
        self.assertIsNone(self.volume.mismatch(0, found))
        self.assertIsNotNone(self.volume.mismatch(0, old))
        self.assertIsNotNone(self.volume.mismatch(0, new))

    def test_parts_of_blocks_lie_over_each_other(self):
        below = self.write(0, BLOCK)
        left = self.write(10, 20)
        right = self.write(20, 20)
        expected = below[:10] + left[:10] + right + below[40:]
        self.assertIsNone(self.volume.mismatch(0, expected))
        self.assertIsNone(self.volume.mismatch(15, expected[15:2000]))

    def test_zeroes_leave_a_hole(self):
        self.write(0, 2 * BLOCK)
        self.volume.changed(0, 2 * BLOCK, 0, certain=True)
        self.assertIsNone(self.volume.mismatch(0, ZEROES * 2))
        self.assertEqual(self.volume._states, {})

    def test_what_was_cut_off_does_not_come_back(self):
        data = self.write(0, 2 * BLOCK)
        self.volume.resized(BLOCK + 100)
        self.volume.resized(3 * BLOCK)
        expected = data[: BLOCK + 100] + bytes(2 * BLOCK - 100)
        self.assertIsNone(self.volume.mismatch(0, expected))
        self.assertIsNotNone(self.volume.mismatch(0, data))

    def test_reservations_do_not_overlap(self):
        self.assertTrue(self.volume.reserve(100, 50))
        self.assertFalse(self.volume.reserve(149, 1))
        self.assertTrue(self.volume.reserve(150, 1))
        self.assertFalse(self.volume.reserve(10 * BLOCK, 1))
        self.volume.release(100, 50)
        self.assertTrue(self.volume.reserve(149, 1))

    def test_a_block_in_a_wrong_place_is_named(self):
        data = self.write(0, 2 * BLOCK)
        self.assertIn(
            "begins as block 1 of volume 3", self.volume.mismatch(0, data[BLOCK:])
        )


if __name__ == "__main__":
    unittest.main()
