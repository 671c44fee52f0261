"""ramvol-csi as a container has it, with the process number 1: what it starts and does not
wait for is its own to bury."""

import os
import signal
import stat
import sys
import unittest

import csi_client
import csi_node

MIB = 1 << 20


def descendants(pid):
    """{number: (program, state)}"""
    found = {}
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        for child in file.read().split():
            with open(f"/proc/{child}/stat", encoding="utf-8") as stats:
                program, _, rest = stats.read().partition("(")[2].rpartition(") ")
            found[int(child)] = (program, rest[0])
            found.update(descendants(child))
    return found


def zombies(pid):
    return [program for program, state in descendants(pid).values() if state == "Z"]


class InitTest(unittest.TestCase):
    def setUp(self):
        self.node = csi_node.Node(*sys.argv[2:])
        self.enterContext(self.node)
        driver = self.node.programs[2]
        self.node.programs[2] = f"{self.node.folder}/container"
        # Its numbers of processes need a /proc of their own.
        unshare = "unshare --pid --fork --kill-child --mount-proc"
        with open(self.node.programs[2], "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec {unshare} {driver} "$@"\n')
        os.chmod(self.node.programs[2], stat.S_IRWXU)
        self.node.start_server()
        self.node.start_driver()
        self.addCleanup(self.node.driver.process.stdout.close)
        # Below unshare.
        self.first = min(descendants(self.node.driver.process.pid))
        self.client = csi_client.Client(
            self.node.endpoint, csi_client.load(sys.argv[1])
        )
        self.addCleanup(self.client.close)

    def test_what_ended_is_no_zombie(self):
        for name in ("one", "two"):
            made = self.client.CreateVolume(
                name=name,
                capacity_range={"required_bytes": 64 * MIB},
                volume_capabilities=[self.client.capability()],
            )
            csi_client.Pod(self.node, self.client, made.volume.volume_id).start().end()
            csi_node.wait_until("no zombies", lambda: not zombies(self.first))

    def test_it_stops_and_tells_how(self):
        os.kill(self.first, signal.SIGTERM)
        code = self.node.driver.process.wait(csi_node.PATIENCE)
        self.assertEqual(code, 0, self.node.driver.text())

    def test_it_ends_with_the_driver(self):
        driver = min(descendants(self.first))
        os.kill(driver, signal.SIGKILL)
        code = self.node.driver.process.wait(csi_node.PATIENCE)
        self.assertEqual(code, 128 + signal.SIGKILL)


if __name__ == "__main__":
    csi_node.own_mounts()
    unittest.main(argv=sys.argv[:1])
