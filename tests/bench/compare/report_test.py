import unittest

import plan
import report
import targets


def results(**fields):
    made = {
        "meta": {
            "date": "2020-01-01 00:00 UTC",
            "cpu": "a CPU",
            "cores": 2,
            "memory_bytes": 8 << 30,
            "system": "Debian",
            "kernel": "6.1",
            "versions": {"fio": "fio-3.33"},
            "plan": "quick",
            "rounds": 2,
            "load_average_before": 0.25,
        },
        "rows": [],
        **fields,
    }
    made["targets"] = targets.evaluate(made)
    return made


def row(server, ops):
    return {
        "section": "fio",
        "set": plan.LARGE,
        "kind": "4 KiB rand write",
        "depth": 16,
        "jobs": 1,
        "server": server,
        "ops_per_s": ops,
        "ops_per_s_spread": 0.2,
        "mib_per_s": ops / 256,
        "p50_us": 12.3456,
    }


class NumberTest(unittest.TestCase):
    def test_figures_have_three_digits_or_all_before_the_point(self):
        for value, text in (
            (None, "–"),
            (0, "0"),
            (7, "7"),
            (0.0123, "0.01"),
            (1.2345, "1.23"),
            (12.345, "12.3"),
            (123.45, "123"),
            (1234.5, "1,234"),
            (1234567, "1,234,567"),
            ("text", "text"),
            (True, "True"),
        ):
            self.assertEqual(report.number(value), text)


class MarkdownTest(unittest.TestCase):
    def test_head_names_machine_date_and_versions(self):
        text = report.markdown(results())
        for words in ("2020-01-01", "a CPU, 2 cores, 8 GiB", "fio-3.33"):
            self.assertIn(words, text)

    def test_targets_say_reached_missed_or_not_measured(self):
        text = report.markdown(
            results(
                rows=[row(plan.RAMVOLD, 6000), row(plan.NBDKIT_ZSTD, 1000)],
                grpc=[{"name": targets.GRPC_UNARY_ROW, "ratio": 0.5}],
            )
        )
        self.assertIn(
            "| 4 KiB random write over 1 GiB | ≥ 5 x nbdkit zstd | 6 | yes |",
            text,
        )
        self.assertIn("| ≥ 0.85 x bare gRPC echo | 0.50 | **no** |", text)
        self.assertIn("| – | not measured |", text)

    def test_fio_rows_have_ratios_to_the_peers(self):
        text = report.markdown(
            results(rows=[row(plan.RAMVOLD, 6000), row(plan.NBDKIT_ZSTD, 1000)])
        )
        self.assertIn("### 4 KiB rand write, 1 GiB, depth 16, 1 connection\n", text)
        self.assertIn(
            "| ramvold | 6,000 | ±10 % | 23.4 | 12.3 | – | – | – | 6 | – | – |",
            text,
        )

    def test_a_summary_has_kinds_down_and_servers_across(self):
        text = report.markdown(
            results(rows=[row(plan.RAMVOLD, 6000), row(plan.NBDKIT_ZSTD, 1000)])
        )
        self.assertIn(
            "### Operations a second\n\n|  | ramvold | nbdkit zstd |\n"
            "|---|---:|---:|\n| 4 KiB rand write, 1 GiB | 6,000 | 1,000 |",
            text,
        )

    def test_clones_have_a_row_for_each_way_and_figure_of_memory(self):
        made = {
            "count": 10,
            "clone_seconds": 0.5,
            "write_seconds": 0.25,
            "image_bytes": {"resident": 3 << 20, "counted": 2 << 20},
            "clone_bytes": {"resident": 5000, "counted": 8192},
            "written_bytes": {"resident": 15000, "counted": 14000},
        }
        text = report.markdown(results(clones={plan.RAMVOLD: made}))
        self.assertIn("## Clones\n\n10 clones of the image.\n", text)
        self.assertIn(
            "| ramvold | 3 | 0.50 | 50,000 | 5,000 | 0.25 | 25,000 | 15,000 |", text
        )
        self.assertIn("| ramvold, as it counts | 2 | 0.50 | 50,000 | 8,192 |", text)

    def test_parts_of_scale_bring_their_tables(self):
        part = {"title": "Cores", "header": ("", "ops/s"), "rows": [("1", 9)]}
        text = report.markdown(results(scale={"cores": part}))
        self.assertIn("### Cores\n\n|  | ops/s |\n|---|---:|\n| 1 | 9 |", text)

    def test_what_was_not_run_has_no_heading(self):
        text = report.markdown(results())
        for heading in ("## fio", "## Memory", "## Clones", "## Scale", "## gRPC"):
            self.assertNotIn(heading, text)


if __name__ == "__main__":
    unittest.main()
