import unittest

import scale


class ScaleTest(unittest.TestCase):
    def test_core_counts_double_and_end_with_all(self):
        self.assertEqual(scale.core_counts(1), [1])
        self.assertEqual(scale.core_counts(2), [1, 2])
        self.assertEqual(scale.core_counts(6), [1, 2, 4, 6])
        self.assertEqual(scale.core_counts(8), [1, 2, 4, 8])

    def test_quarters_are_medians_of_the_time(self):
        points = [(second, second // 10) for second in range(40)]
        self.assertEqual(scale.quarters(points), [0, 1, 2, 3])

    def test_quarters_of_little(self):
        self.assertEqual(scale.quarters([]), [0, 0, 0, 0])
        self.assertEqual(scale.quarters([(0, 5)]), [0, 0, 0, 5])


if __name__ == "__main__":
    unittest.main()
