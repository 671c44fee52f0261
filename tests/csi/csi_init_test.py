"""ramvol-csi as a container has it, with the process number 1: what it starts and does not
wait for is its own to bury."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import threading
import unittest

import csi_client
import csi_node
import grpc

CSI = None  # The module of csi.proto.
MIB = 1 << 20


def descendants(pid):
    """{number: (program, state)}"""
    found = {}
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        children = file.read().split()
    for child in children:
        # It may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{child}/stat", encoding="utf-8") as stats:
                program, _, rest = stats.read().partition("(")[2].rpartition(") ")
            found[int(child)] = (program, rest[0])
            found.update(descendants(child))
    return found


def zombies(pid):
    return [program for program, state in descendants(pid).values() if state == "Z"]


# Stops for good at the step in the file "plan", unless it failed: another test may have
# the device by then, and the driver takes the next one.
WRAPPER = """#!/bin/bash
at() {{
  [[ $(cat {folder}/plan) == "$1" ]] || return
  rm {folder}/plan
  touch {folder}/reached
  sleep 1000
}} 2>/dev/null
at "before ${{1%%=*}}"
PATH=${{PATH#*:}} losetup "$@"
code=$?
[[ $code != 0 ]] || at "after ${{1%%=*}}"
exit $code
"""


def attempt(call):
    with contextlib.suppress(grpc.RpcError):
        call()


class InitTest(unittest.TestCase):
    def setUp(self):
        self.node = csi_node.Node(*sys.argv[2:])
        self.enterContext(self.node)
        driver = self.node.programs[2]
        self.node.programs[2] = f"{self.node.folder}/container"
        # Its numbers of processes need a /proc of their own.
        unshare = (
            "unshare --pid --fork --kill-child --mount-proc --propagation unchanged"
        )
        with open(self.node.programs[2], "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec {unshare} {driver} "$@"\n')
        os.chmod(self.node.programs[2], stat.S_IRWXU)
        self.node.share()
        self.node.start_server()
        self.start_driver()

    def start_driver(self):
        self.node.start_driver()
        self.addCleanup(self.node.driver.process.stdout.close)
        # Below unshare.
        self.first = min(descendants(self.node.driver.process.pid))
        self.client = csi_client.Client(self.node.endpoint, CSI)
        self.addCleanup(self.client.close)

    def end_container(self):
        """With all processes, and its mounts."""
        for loop in self.loops():
            self.addCleanup(self.detach_cut_off, loop)
        os.kill(self.first, signal.SIGKILL)
        self.node.driver.process.wait(csi_node.PATIENCE)
        csi_node.wait_until(
            "its processes' end", lambda: not csi_node.servers_below(self.node.folder)
        )

    def create(self, name, **capability):
        self.client.CreateVolume(
            name=name,
            capacity_range={"required_bytes": 64 * MIB},
            volume_capabilities=[self.client.capability(**capability)],
        )
        return csi_client.Pod(self.node, self.client, name, **capability)

    def loops(self):
        return set(csi_node.loops_below(self.node.folder))

    def detach_cut_off(self, loop):
        """What a failed test leaves."""
        if csi_node.backing_file(loop) == "/":
            subprocess.run(["losetup", "--detach", loop], check=False)

    def assert_free(self, loop):
        # Another test may have it by now.
        csi_node.wait_until(
            f"{loop} is free", lambda: csi_node.backing_file(loop) != "/"
        )
        self.assertNotIn(loop, self.loops())

    def test_what_ended_is_no_zombie(self):
        for name in ("one", "two"):
            self.create(name).start().end()
            csi_node.wait_until("no zombies", lambda: not zombies(self.first))

    def test_it_stops_and_tells_how(self):
        os.kill(self.first, signal.SIGTERM)
        code = self.node.driver.process.wait(csi_node.PATIENCE)
        self.assertEqual(code, 0, self.node.driver.text())

    def test_it_tells_that_devices_end_with_it(self):
        self.assertIn("devices end with this container", self.node.driver.ready)

    def test_it_ends_with_the_driver(self):
        driver = min(descendants(self.first))
        os.kill(driver, signal.SIGKILL)
        code = self.node.driver.process.wait(csi_node.PATIENCE)
        self.assertEqual(code, 128 + signal.SIGKILL)

    def test_what_a_container_that_was_replaced_left_goes(self):
        idle = self.create("idle", block=True)
        idle.stage()
        (idle_loop,) = self.loops()
        used = self.create("used").start()
        (used_loop,) = self.loops() - {idle_loop}
        with open(f"{used.target}/file", "w", encoding="utf-8") as file:
            file.write("content")
            file.flush()
            os.fsync(file.fileno())
        self.end_container()
        for loop in (idle_loop, used_loop):
            self.assertEqual(csi_node.backing_file(loop), "/")
        self.start_driver()
        self.node.await_log("cleaned up: detached volume idle")
        self.assert_free(idle_loop)
        # The pod has it until it is deleted.
        self.assertEqual(csi_node.backing_file(used_loop), "/")
        stats = self.client.NodeGetVolumeStats(
            volume_id=used.id, volume_path=used.target
        )
        self.assertTrue(stats.volume_condition.abnormal)
        used.client = self.client
        used.end()
        self.assert_free(used_loop)
        used.start()
        with open(f"{used.target}/file", encoding="utf-8") as file:
            self.assertEqual(file.read(), "content")
        used.end()
        for pod in (idle, used):
            self.client.DeleteVolume(volume_id=pod.id)
        self.assertEqual(os.listdir(self.node.devices), [])

    def test_a_device_goes_on_without_the_mounts_that_it_was_made_in(self):
        """As when its process is of an earlier container that it outlives."""
        os.mkdir(f"{self.node.folder}/bin")
        wrapper = f"{self.node.folder}/bin/losetup"
        with open(wrapper, "w", encoding="utf-8") as file:
            file.write(
                "#!/bin/sh\n"
                "PATH=${PATH#*:} exec unshare --mount --propagation unchanged "
                'losetup "$@"\n'
            )
        os.chmod(wrapper, stat.S_IRWXU)
        pod = self.create("volume")
        pod.stage()
        loop = csi_node.device_at(pod.staging)
        self.addCleanup(self.detach_cut_off, loop)
        self.assertEqual(csi_node.backing_file(loop), "/")
        pod.start()
        self.assertEqual(csi_node.device_at(pod.target), loop)
        stats = self.client.NodeGetVolumeStats(volume_id=pod.id, volume_path=pod.target)
        self.assertFalse(stats.volume_condition.abnormal)
        pod.end()
        self.assert_free(loop)
        self.client.DeleteVolume(volume_id=pod.id)
        self.assertEqual(os.listdir(self.node.devices), [])

    def test_a_container_may_end_at_each_step_of_a_loop_device(self):
        """Before and after a free one is looked for, and it lies over its file."""
        os.mkdir(f"{self.node.folder}/bin")
        wrapper = f"{self.node.folder}/bin/losetup"
        with open(wrapper, "w", encoding="utf-8") as file:
            file.write(WRAPPER.format(folder=self.node.folder))
        os.chmod(wrapper, stat.S_IRWXU)
        for i, step in enumerate(
            ("before --find", "after --find", "before --direct-io", "after --direct-io")
        ):
            with self.subTest(step):
                pod = self.create(f"volume-{i}", block=True)
                with open(f"{self.node.folder}/plan", "w", encoding="utf-8") as file:
                    file.write(step)
                call = threading.Thread(target=lambda pod=pod: attempt(pod.stage))
                call.start()
                reached = f"{self.node.folder}/reached"
                csi_node.wait_until(step, lambda: os.path.exists(reached))
                loops = self.loops()
                self.assertEqual(len(loops), int(step == "after --direct-io"))
                self.end_container()
                call.join()
                os.remove(reached)
                self.start_driver()
                self.node.await_log(f"cleaned up: detached volume {pod.id}")
                for loop in loops:
                    self.assert_free(loop)
                self.assertEqual(os.listdir(self.node.devices), [])
                pod.client = self.client
                pod.stage()
                pod.unstage()
                self.client.DeleteVolume(volume_id=pod.id)


if __name__ == "__main__":
    csi_node.own_mounts()
    CSI = csi_client.load(sys.argv[1])
    unittest.main(argv=sys.argv[:1])
