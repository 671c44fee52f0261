"""The pod of the chart's StatefulSet, run by podman.

Arguments: the folder deploy/kubernetes, the paths of ramvold and ramvol. The
environment's RAMVOL_IMAGE names an image to run in place of one of these two.
"""

import json
import os
import pathlib
import sys
import tempfile
import time
import unittest

import yaml

from chart import Helm, find
from podman import import_image, pod_of, podman

DEPLOY, RAMVOLD, RAMVOL = (pathlib.Path(arg).resolve() for arg in sys.argv[1:4])
POD = f"ramvol-pod-test-{os.getpid()}"
CONTAINER = f"{POD}-ramvold"
MEMORY = 2 << 30
START_SECONDS = 60


def values(image):
    """Values of a chart that runs the image, and names and sizes to look for."""
    repository, _, tag = image.rpartition(":")
    return {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "insecure": True,
        "resources": {"memory": "2Gi"},
        "volumes": [
            {"name": "scratch", "size": "10Gi", "labels": {"team": 'c"i'}},
            {"name": "huge", "size": str(2**63 - 1), "memoryLimit": "64Mi"},
        ],
    }


def ramvol(*args, **kwargs):
    return podman("exec", CONTAINER, "/usr/bin/ramvol", *args, **kwargs)


class PodTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.own_image = None
        image = os.environ.get("RAMVOL_IMAGE")
        if not image:
            image = f"localhost/ramvol-pod-test:{os.getpid()}"
            cls.own_image = import_image([RAMVOLD, RAMVOL], image)
        cls.image = image
        cls.documents = Helm(DEPLOY / "ramvol").render(values(image))
        memory = tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ramvol-pod.")
        cls.addClassCleanup(memory.cleanup)
        cls.memory = memory.name
        # As of an emptyDir.
        os.chmod(cls.memory, 0o777)
        cls.addClassCleanup(cls.remove)
        cls.play()
        cls.wait()

    @classmethod
    def remove(cls):
        podman("pod", "rm", "--force", POD, check=False)
        if cls.own_image:
            podman("rmi", "--force", cls.own_image, check=False)

    @classmethod
    def play(cls):
        stateful_set = find(cls.documents, "StatefulSet")
        cls.grace = stateful_set["spec"]["template"]["spec"][
            "terminationGracePeriodSeconds"
        ]
        played = [
            find(cls.documents, "ConfigMap"),
            pod_of(stateful_set, POD, cls.memory),
        ]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump_all(played, file)
            file.flush()
            # Its loopback is enough.
            podman("play", "kube", "--network=none", file.name)

    @classmethod
    def wait(cls):
        end = time.monotonic() + START_SECONDS
        while ramvol("server", check=False).returncode != 0:
            state = podman("inspect", "--format={{.State.Status}}", CONTAINER)
            if state.stdout.strip() != "running" or time.monotonic() > end:
                log = podman("logs", CONTAINER)
                raise AssertionError("no server: " + log.stdout + log.stderr)
            time.sleep(0.2)

    def test_the_initial_volumes_are_there(self):
        found = json.loads(ramvol("--output=json", "ls").stdout)
        shown = json.dumps(found)
        for text in '"scratch"', str(10 << 30), '"huge"', str(2**63 - 1):
            self.assertIn(text, shown)
        self.assertIn('c\\"i', shown)

    def test_volumes_and_clients_fit_into_the_memory(self):
        """The client memory is a quarter of the limit here (docs/container.md)."""
        server = json.loads(ramvol("--output=json", "server").stdout)
        limit = int(server["memoryLimitBytes"])
        self.assertAlmostEqual(limit * 5 / 4 + (128 << 20), MEMORY, delta=100)

    def test_the_pod_may_do_nothing(self):
        container = json.loads(podman("inspect", CONTAINER).stdout)[0]
        self.assertEqual(container["Config"]["User"], "65532:65532")
        self.assertIs(container["HostConfig"]["ReadonlyRootfs"], True)
        self.assertEqual(container["HostConfig"]["Memory"], MEMORY)
        self.assertFalse(container["EffectiveCaps"])
        status = pathlib.Path(f"/proc/{container['State']['Pid']}/status").read_text()
        status = dict(line.split(":\t", 1) for line in status.splitlines())
        self.assertEqual(status["NoNewPrivs"], "1")
        # A filter.
        self.assertEqual(status["Seccomp"], "2")
        self.assertEqual(status["Uid"].split()[:2], ["65532", "65532"])

    def test_the_steps_of_helm_test(self):
        """Each as its container would run, but with this pod's address."""
        pod = find(self.documents, "Pod", "ramvol-test")
        content = pod["metadata"]["annotations"]["ramvol/flags"]
        with tempfile.TemporaryDirectory() as folder:
            flags, out = pathlib.Path(folder, "in/flags"), pathlib.Path(folder, "out")
            flags.parent.mkdir()
            flags.write_text(content)
            out.mkdir(mode=0o777)
            for path in folder, flags.parent, out:
                os.chmod(path, 0o777)
            for step in pod["spec"]["initContainers"] + pod["spec"]["containers"]:
                self.run_step(step, flags.parent, out)
            self.assertEqual((out / "flags").read_text(), content)
            # The step that compares must see a difference.
            (out / "flags").write_text("--verbose")
            (step,) = [
                s for s in pod["spec"]["initContainers"] if s["name"] == "compare"
            ]
            with self.assertRaises(AssertionError):
                self.run_step(step, flags.parent, out)
        self.assertNotIn("helm-test", ramvol("ls").stdout)

    def run_step(self, step, folder_in, folder_out):
        args = [
            "--server=127.0.0.1:7420" if arg.startswith("--server=") else arg
            for arg in step["args"]
        ]
        done = podman(
            *("run", "--rm", f"--pod={POD}", "--read-only"),
            *("--user=65532:65532", "--cap-drop=ALL"),
            *(
                f"--volume={folder_in}:/test/in:ro",
                f"--volume={folder_out}:/test/out",
            ),
            *(f"--entrypoint={json.dumps(step['command'])}", self.image, *args),
        )
        if step["name"] == "compare":
            self.assertRegex(done.stdout, r"^ramvold \d")

    def test_volumes_outlive_their_container(self):
        ramvol("create", "kept", "1M")
        before = ramvol("show", "kept").stdout
        podman("kill", "--signal=KILL", CONTAINER)
        podman("wait", CONTAINER)
        podman("start", CONTAINER)
        self.wait()
        self.assertEqual(ramvol("show", "kept").stdout, before)
        self.assertIn("scratch", ramvol("ls").stdout)
        ramvol("rm", "kept")

    def test_zz_it_stops_in_time(self):
        """The last by its name, because the others need what it stops."""
        begin = time.monotonic()
        podman("stop", "--time", self.grace, CONTAINER)
        self.assertLess(time.monotonic() - begin, self.grace)
        state = podman("inspect", "--format={{.State.ExitCode}}", CONTAINER)
        self.assertEqual(state.stdout.strip(), "0")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
