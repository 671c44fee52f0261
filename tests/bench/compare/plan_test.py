import unittest

import plan

SECTIONS = ("fio", "copy", "memory", "clones", "grpc", "scale", "vhost")


def minutes(settings):
    return sum(plan.section_seconds(settings, s) for s in SECTIONS) / 60


class PlanTest(unittest.TestCase):
    def test_takes_about_as_long_as_it_says(self):
        self.assertTrue(15 <= minutes(plan.QUICK) <= 27, minutes(plan.QUICK))
        self.assertTrue(100 <= minutes(plan.FULL) <= 160, minutes(plan.FULL))
        self.assertLess(minutes(plan.SMOKE), 2)

    def test_the_full_run_covers_what_was_asked_for(self):
        for session in plan.FULL.sessions:
            shapes = {(cell.depth, cell.jobs) for cell in session.cells}
            self.assertLessEqual({(1, 1), (16, 1), (64, 1), (16, 4)}, shapes)
        kinds = {c.kind for s in plan.FULL.sessions for c in s.cells}
        self.assertEqual(kinds, set(plan.KINDS))

    def test_reads_come_before_anything_is_overwritten(self):
        for settings in plan.PLANS.values():
            for session in settings.sessions:
                wrote = False
                for cell in session.cells:
                    reads = cell.kind in plan.READS
                    self.assertFalse(reads and wrote, session)
                    wrote = wrote or not reads

    def test_cells_of_a_kind_stand_together(self):
        """Each kind is warmed up once, when it begins."""
        for settings in plan.PLANS.values():
            for session in settings.sessions:
                for server in plan.SERVERS:
                    kinds = [c.kind for c in plan.cells_of(session, server)]
                    runs = [
                        kind
                        for kind, before in zip(kinds, [None] + kinds)
                        if kind != before
                    ]
                    self.assertEqual(len(runs), len(set(runs)), runs)


if __name__ == "__main__":
    unittest.main()
