import unittest

import figures


def sample(server, ops, **fields):
    return {"section": "fio", "server": server, "ops_per_s": ops, **fields}


class FiguresTest(unittest.TestCase):
    def test_a_row_has_the_median_of_its_rounds(self):
        rows = figures.summarise_all(
            [sample("a", 10), sample("b", 1), sample("a", 30), sample("a", 11)]
        )
        self.assertEqual(
            [(row["server"], row["ops_per_s"]) for row in rows],
            [("a", 11), ("b", 1)],
        )
        self.assertEqual(rows[0]["rounds"], 3)
        self.assertEqual(rows[0]["ops_per_s_rounds"], [10, 30, 11])

    def test_of_two_rounds_the_median_is_the_mean(self):
        (row,) = figures.summarise_all([sample("a", 10), sample("a", 20)])
        self.assertEqual(row["ops_per_s"], 15)

    def test_spread_is_the_extremes_distance_over_the_median(self):
        self.assertAlmostEqual(figures.spread([90, 100, 120]), 0.3)
        self.assertEqual(figures.spread([5]), 0)
        self.assertEqual(figures.spread([0, 0]), 0)

    def test_depth_tells_rows_apart(self):
        rows = figures.summarise_all(
            [sample("a", 1, depth=1), sample("a", 2, depth=16)]
        )
        self.assertEqual(figures.value(rows, "ops_per_s", depth=16), 2)

    def test_what_was_not_measured_is_none(self):
        self.assertIsNone(figures.value([], "ops_per_s", server="a"))
        (row,) = figures.summarise_all([sample("a", 1, p99_us=None)])
        self.assertNotIn("p99_us", row)

    def test_no_ratio_to_nothing(self):
        self.assertEqual(figures.ratio(3, 2), 1.5)
        self.assertIsNone(figures.ratio(None, 2))
        self.assertIsNone(figures.ratio(3, None))
        self.assertIsNone(figures.ratio(3, 0))


if __name__ == "__main__":
    unittest.main()
