import unittest
from unittest import mock

import plan
import vhost


class FakeServer:
    name = plan.RAMVOLD
    vhost_path = "/d/disk.sock"

    def __init__(self):
        self.cpu = 0

    def path(self, name):
        return f"/d/{name}"

    def cpu_seconds(self):
        self.cpu += 0.5
        return self.cpu

    def shown(self, argv):
        return " ".join(argv)


class VhostTest(unittest.TestCase):
    def qemu(self, nbd, kind):
        printed = ["Run completed in 0.010 seconds.", "Run completed in 2.000 seconds."]
        with mock.patch("loads.run_client", side_effect=printed) as run:
            sample = vhost.run_qemu(FakeServer(), nbd, kind, 16, 1.0)
        return sample, run.call_args[0][0]

    def test_a_trial_tells_how_many_operations(self):
        sample, argv = self.qemu(False, vhost.READ)
        self.assertEqual(sample["operations"], 500_000)
        self.assertEqual(sample["ops_per_s"], 250_000)
        self.assertEqual(sample["cpu_us_per_op"], 1)
        self.assertIn("driver=virtio-blk-vhost-user,path=/d/disk.sock", argv[-1])
        self.assertNotIn("-w", argv)

    def test_nbd_has_the_same_client(self):
        _, argv = self.qemu(True, vhost.WRITE)
        self.assertIn("server.path=/d/nbd,export=disk", argv[-1])
        self.assertIn("-w", argv)

    def test_stride_comes_to_every_block(self):
        for size in (4 * plan.MIB, 64 * plan.MIB, plan.GIB):
            blocks = {step * vhost._STEP % size for step in range(size // 4096)}
            self.assertEqual(len(blocks), size // 4096)

    def test_lines_have_a_point_for_each_depth(self):
        rows = [
            {
                "server": vhost.OURS,
                "set": plan.LARGE,
                "kind": vhost.READ,
                "depth": depth,
                "ops_per_s": depth * 1000,
            }
            for depth in vhost.DEPTHS
        ]
        asked = vhost.lines(rows, plan.LARGE, vhost.READ)
        self.assertEqual(
            asked["lines"], {vhost.OURS: [(1, 1000), (16, 16000), (64, 64000)]}
        )


if __name__ == "__main__":
    unittest.main()
