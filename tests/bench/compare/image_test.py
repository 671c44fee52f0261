import tempfile
import unittest

import image

FILES = [(f"/usr/file{number}", 10) for number in range(100)]


class RepeatTest(unittest.TestCase):
    def test_what_is_missing_comes_from_the_beginning(self):
        for have, size, expected in (
            (b"abc", 8, b"abcabcab"),
            (b"abc", 3, b"abc"),
            (b"abcdef", 4, b"abcd"),
        ):
            with tempfile.NamedTemporaryFile() as file:
                file.write(have)
                file.flush()
                image._repeat_to(file.name, size)
                with open(file.name, "rb") as made:
                    self.assertEqual(made.read(), expected)


class ChooseTest(unittest.TestCase):
    def test_fills_what_is_asked_for(self):
        chosen, total = image.choose(FILES, 255)
        self.assertEqual((len(chosen), total), (25, 250))

    def test_is_a_sample_and_the_same_each_time(self):
        chosen, _ = image.choose(FILES, 250)
        self.assertEqual(image.choose(reversed(FILES), 250)[0], chosen)
        self.assertNotEqual(chosen, [path for path, _ in FILES[:25]])

    def test_takes_no_file_that_would_be_most_of_it(self):
        chosen, total = image.choose([("/usr/large", 90), ("/usr/a", 5)], 100)
        self.assertEqual((chosen, total), (["/usr/a"], 5))

    def test_takes_all_where_there_is_too_little(self):
        self.assertEqual(image.choose(FILES, 5000)[1], 1000)


if __name__ == "__main__":
    unittest.main()
