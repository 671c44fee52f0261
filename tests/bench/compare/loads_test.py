import json
import unittest

import loads
import plan
from errors import BenchError


def report(error=0, ios=5000):
    mixed = {
        "total_ios": ios,
        "iops": 2500.5,
        "bw_bytes": 2500 * 4096,
        "lat_ns": {
            "percentile": {
                "50.000000": 100000,
                "99.000000": 2000000,
                "99.900000": 3500500,
            }
        },
    }
    return json.dumps({"jobs": [{"error": error, "mixed": mixed}]})


class ParseFioTest(unittest.TestCase):
    def test_reads_figures_in_microseconds_and_mebibytes(self):
        sample = loads.parse_fio(report())
        self.assertEqual(sample["operations"], 5000)
        self.assertEqual(sample["ops_per_s"], 2500.5)
        self.assertAlmostEqual(sample["mib_per_s"], 9.765625)
        self.assertEqual(sample["p50_us"], 100)
        self.assertEqual(sample["p99_us"], 2000)
        self.assertEqual(sample["p999_us"], 3500.5)

    def test_skips_what_fio_says_before_its_json(self):
        text = "fio: connected to NBD server {x}\nfio: note\n" + report()
        self.assertEqual(loads.parse_fio(text)["operations"], 5000)

    def test_an_error_of_a_job_is_an_error(self):
        with self.assertRaisesRegex(BenchError, "error 5"):
            loads.parse_fio(report(error=5))

    def test_no_json_is_an_error_that_shows_the_output(self):
        with self.assertRaisesRegex(BenchError, "engine nbd not loadable"):
            loads.parse_fio("fio: engine nbd not loadable\n")


class FioCommandTest(unittest.TestCase):
    def command(self, kind, jobs):
        return loads.fio_command(
            "uri", plan.KINDS[kind], 64 * plan.MIB, 16, jobs, seed=3
        )

    def test_random_jobs_share_the_whole_set(self):
        command = self.command("4 KiB rand read", jobs=4)
        self.assertIn(f"--size={64 * plan.MIB}", command)
        self.assertIn("--numjobs=4", command)

    def test_sequential_jobs_have_a_part_each(self):
        command = self.command("1 MiB seq read", jobs=4)
        self.assertIn(f"--size={16 * plan.MIB}", command)
        self.assertIn(f"--offset_increment={16 * plan.MIB}", command)

    def test_the_seed_counts(self):
        command = self.command("4 KiB rand read", jobs=1)
        self.assertIn("--randrepeat=0", command)
        self.assertIn("--randseed=3", command)


class RunClientTest(unittest.TestCase):
    def test_a_failure_shows_the_command_and_what_it_said(self):
        with self.assertRaisesRegex(BenchError, "ended with 3: .*sorry"):
            loads.run_client(["sh", "-c", "echo sorry >&2; exit 3"], 10)

    def test_a_client_that_hangs_is_an_error(self):
        with self.assertRaisesRegex(BenchError, "took longer"):
            loads.run_client(["sleep", "60"], 0.1)


if __name__ == "__main__":
    unittest.main()
