import unittest

import plan
import targets
import vhost


def fio(server, kind, ops, set_name=plan.LARGE, depth=16, jobs=1, p99=None):
    return {
        "section": "fio",
        "set": set_name,
        "kind": kind,
        "depth": depth,
        "jobs": jobs,
        "server": server,
        "ops_per_s": ops,
        "p99_us": p99,
    }


def copy(server, kind, seconds):
    return {
        "section": "copy",
        "kind": kind,
        "server": server,
        "seconds": seconds,
    }


def evaluated(work, against=None, rows=(), **results):
    """The row of one target."""
    (row,) = [
        row
        for row in targets.evaluate({"rows": list(rows), **results})
        if row["work"] == work and (against is None or row["target"].endswith(against))
    ]
    return row


class TargetsTest(unittest.TestCase):
    def test_speed_is_ours_over_the_peers(self):
        rows = [
            fio(plan.RAMVOLD, "4 KiB rand write", 60000),
            fio(plan.NBDKIT_ZSTD, "4 KiB rand write", 10000),
        ]
        row = evaluated("4 KiB random write over 1 GiB", rows=rows)
        self.assertEqual(row["measured"], 6)
        self.assertIs(row["reached"], True)

    def test_another_set_and_depth_do_not_count(self):
        kind = "4 KiB rand write"
        rows = [
            fio(plan.RAMVOLD, kind, 9000, set_name=plan.IN_CACHE),
            fio(plan.NBDKIT_ZSTD, kind, 1000, set_name=plan.IN_CACHE),
            fio(plan.RAMVOLD, kind, 9000, depth=1),
            fio(plan.NBDKIT_ZSTD, kind, 1000, depth=1),
        ]
        row = evaluated("4 KiB random write over 1 GiB", rows=rows)
        self.assertIsNone(row["measured"])
        row = evaluated("4 KiB random write, in the cache", plan.NBDKIT_ZSTD, rows)
        self.assertEqual(row["measured"], 9)

    def test_a_tail_must_be_at_most_its_bound(self):
        kind = "4 KiB rand write"
        rows = [
            fio(plan.RAMVOLD, kind, 1, jobs=8, p99=300),
            fio(plan.NBDKIT_ZSTD, kind, 1, jobs=8, p99=1000),
        ]
        work = "p99 of 4 KiB random write, 8 jobs, depth 16"
        row = evaluated(work, rows=rows)
        self.assertEqual(row["measured"], 0.3)
        self.assertIs(row["reached"], False)

    def test_connections_are_compared_with_ourselves(self):
        kind = "4 KiB rand read"
        rows = [
            fio(plan.RAMVOLD, kind, 100),
            fio(plan.RAMVOLD, kind, 150, jobs=4),
        ]
        row = evaluated("4 connections, random read over 1 GiB", rows=rows)
        self.assertEqual(row["measured"], 1.5)

    def test_the_bridge_is_compared_with_in_process(self):
        kind = "4 KiB rand read"
        rows = [
            fio(plan.RAMVOLD, kind, 100, depth=32),
            fio(plan.BRIDGE, kind, 60, depth=32),
        ]
        row = evaluated("ramvol-nbd, 4 KiB random read, depth 32", rows=rows)
        self.assertEqual(row["measured"], 0.6)

    def test_a_copy_is_faster_when_it_takes_less_time(self):
        rows = [
            copy(plan.RAMVOLD, "nbdcopy in", 4),
            copy(plan.NBDKIT_ZSTD, "nbdcopy in", 10),
        ]
        row = evaluated("nbdcopy of a real image in", rows=rows)
        self.assertEqual(row["measured"], 2.5)

    def test_memory(self):
        memory = {
            plan.RAMVOLD: {
                "rss_filled_bytes": 110,
                "rss_rested_bytes": 90,
                "rss_before_trim_bytes": 90,
                "rss_trimmed_bytes": 9,
            },
            plan.NBDKIT_ZSTD: {
                "rss_filled_bytes": 100,
                "rss_rested_bytes": 100,
            },
        }
        over = "resident memory over that image, "
        row = evaluated(over + "at once", memory=memory)
        self.assertEqual((row["measured"], row["reached"]), (1.1, False))
        row = evaluated(over + "after a rest", memory=memory)
        self.assertEqual((row["measured"], row["reached"]), (0.9, True))
        work = "resident memory after trimming everything"
        self.assertEqual(evaluated(work, memory=memory)["measured"], 0.1)

    def test_clones_are_measured_in_seconds_and_kib(self):
        made = {
            "count": 500,
            "clone_seconds": 0.4,
            "clone_bytes": {"resident": 1, "counted": 9 * 1024},
            "written_bytes": {"resident": 1, "counted": 21 * 1024},
        }
        found = [
            (row["target"], row["measured"], row["reached"])
            for row in targets.evaluate({"rows": [], "clones": {plan.RAMVOLD: made}})
            if row["reached"] is not None
        ]
        self.assertEqual(
            found,
            [("≤ 1 s", 0.8, True), ("≤ 10 KiB", 9, True), ("≤ 20 KiB", 21, False)],
        )

    def test_grpc_brings_its_ratios(self):
        grpc = [{"name": targets.GRPC_UNARY_ROW, "ratio": 0.8}]
        row = evaluated("unary 4 KiB Read", grpc=grpc)
        self.assertEqual((row["measured"], row["reached"]), (0.8, False))

    def test_vhost_user_is_measured_by_one_client(self):
        rows = [
            {
                "section": "vhost",
                "set": plan.IN_CACHE,
                "kind": vhost.READ,
                "depth": 16,
                "server": server,
                "ops_per_s": rate,
                "cpu_us_per_op": 1.25,
            }
            for server, rate in (
                *((vhost.NBD, 100), (vhost.OURS, 500), (vhost.OURS_BLKIO, 900)),
                *((vhost.FILE, 250), (vhost.NULL, 500)),
            )
        ]
        work = "vhost-user, 4 KiB random read in the cache, depth 16"
        for against, ratio in (("NBD", 5), ("RAM file", 2), ("null-co", 1)):
            self.assertEqual(evaluated(work, against, rows)["measured"], ratio)
        work = "vhost-user, server CPU of a 4 KiB read in the cache, depth 16"
        self.assertEqual(evaluated(work, rows=rows)["measured"], 1.25)

    def test_of_nothing_nothing_is_reached(self):
        for row in targets.evaluate({"rows": []}):
            self.assertIsNone(row["measured"])
            self.assertIsNone(row["reached"])

    def test_every_row_that_a_target_needs_is_in_the_plans(self):
        """Targets over samples that plans would give are all measured."""
        for settings in (plan.FULL, plan.QUICK):
            rows = [
                fio(
                    *(server, cell.kind, 1, session.set_name),
                    *(cell.depth, cell.jobs, 1),
                )
                for session in settings.sessions
                for cell in session.cells
                for server in cell.servers
            ]
            missing = [
                row["work"]
                for row in targets.evaluate({"rows": rows})
                if row["measured"] is None
            ]
            # These come from other sections.
            self.assertEqual(
                [
                    work
                    for work in missing
                    if ("random" in work or "sequential" in work)
                    and "vhost-user" not in work
                ],
                [],
            )


if __name__ == "__main__":
    unittest.main()
