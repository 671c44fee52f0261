"""What tests of volumes in pods have in common."""

import contextlib
import glob
import json
import os
import signal
import string
import subprocess
import sys
import time
import unittest

from processes import PATIENCE, CommandError, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, f"{os.path.dirname(HERE)}/csi")
import csi_node

NAMESPACE = "ramvol"
SOCKETS = "/run/ramvol-csi"
KUBELET = "/var/lib/kubelet"


def manifest(name, **values):
    with open(f"{HERE}/manifests/{name}.yaml", encoding="utf-8") as file:
        text = file.read()
    if not values:
        return text
    quoted = {key: json.dumps(value) for key, value in values.items()}
    return string.Template(text).substitute(quoted)


def on(node, pod):
    """The manifest, for this node."""
    return f"{pod}  nodeSelector: {{kubernetes.io/hostname: {node.name}}}\n"


def say(what, seconds):
    print(f"  {what}: {seconds:.1f} s", file=sys.stderr)


class PodTest(unittest.TestCase):
    """One after another, in one cluster."""

    cluster = command_line = chart = None
    values = ()  # Arguments of Helm.

    @classmethod
    def setUpClass(cls):
        began = time.monotonic()
        for node in cls.cluster.nodes:
            make_golden_image(node.machine.root)
        cls.cluster.helm("install", "ramvol", cls.chart, *cls.values, "--wait")
        say("ramvol ready", time.monotonic() - began)

    def setUp(self):
        print(f"\n{self.id().split('.')[-1]}", file=sys.stderr)

    def tearDown(self):
        """Everything is deleted, and then nothing is left."""
        began = time.monotonic()
        kinds = "deployments pods volumegroupsnapshots volumesnapshots pvc".split()
        for kind in kinds:
            self.cluster.kubectl("delete", kind, "--all", "--wait")
        wait_until("no volumes", lambda: not self.cluster.get("pv")["items"])
        say("all deleted", time.monotonic() - began)
        for node in self.cluster.nodes:
            self.assertEqual(self.volumes(node), [])
            listed = self.ramvol("snapshot", "ls", "--output=json", node=node)
            snapshots = json.loads(listed)
            self.assertEqual(snapshots, {"snapshots": []})
            wait_until(node.name, lambda node=node: check_left(node.machine), 30)

    @classmethod
    def tearDownClass(cls):
        """Nothing of the driver is left, but the folders that it had."""
        cls.cluster.helm("uninstall", "ramvol", f"--namespace={NAMESPACE}", "--wait")
        pods = (f"--namespace={NAMESPACE}", "pods")
        wait_until("no pods", lambda: not cls.cluster.get(*pods)["items"])
        for node in cls.cluster.nodes:
            root = node.machine.root
            left = left_on_node(node.machine) + glob.glob(f"{root}{SOCKETS}/*.sock")
            left += glob.glob(f"{root}{KUBELET}/plugins*/csi.ramvol.dev*.sock")
            assert not left, left

    def ramvol(self, *words, node=None):
        """On the first node, if no other one is given."""
        machine = (node or self.cluster.nodes[0]).machine
        command = [self.command_line, "--server", f"unix:{SOCKETS}/grpc.sock", *words]
        result = subprocess.run(
            [*machine.command(), *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if result.returncode != 0:
            raise CommandError(f"ramvol {' '.join(words)}: {result.stderr}")
        return result.stdout

    def volumes(self, node):
        """Those of claims and of pods."""
        names = self.ramvol("ls", "--quiet", node=node).split()
        self.assertIn("golden", names)
        return [name for name in names if name != "golden"]

    def apply(self, text):
        self.cluster.kubectl("apply", "-f", "-", input=text)

    def phase(self, pod):
        return self.cluster.get("pod", pod)["status"].get("phase")

    def succeed(self, pod, began):
        """The pod's output, once it has ended well."""
        phases = ("Succeeded", "Failed")
        try:
            phase = wait_until(
                pod, lambda: self.phase(pod) in phases and self.phase(pod)
            )
        except AssertionError:
            print(self.cluster.kubectl("describe", "pod", pod), file=sys.stderr)
            raise
        say(f"{pod} succeeded", time.monotonic() - began)
        text = self.cluster.kubectl("logs", pod)
        self.assertEqual(phase, "Succeeded", text)
        return text

    def run_pod(self, name, claim, command, kind="pod", node=None):
        """Its output. On any node, if none is given."""
        began = time.monotonic()
        pod = manifest(kind, NAME=name, CLAIM=claim, COMMAND=command)
        self.apply(on(node, pod) if node else pod)
        text = self.succeed(name, began)
        self.cluster.kubectl("delete", "pod", name, "--wait")
        return text

    def take_snapshot(self, name, claim):
        began = time.monotonic()
        self.apply(manifest("snapshot", NAME=name, CLAIM=claim))
        self.wait_for_snapshot("volumesnapshot", name, began)

    def wait_for_snapshot(self, kind, name, began):
        def is_ready():
            status = self.cluster.get(kind, name).get("status", {})
            return status.get("readyToUse")

        wait_until(name, is_ready)
        say("snapshot ready", time.monotonic() - began)


class Result(unittest.TextTestResult):
    """Tells of the nodes when a test fails, before those are cleaned up."""

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._tell(self.failures)

    def addError(self, test, error):
        super().addError(test, error)
        self._tell(self.errors)

    def _tell(self, texts):
        print(texts[-1][1], file=sys.stderr)
        PodTest.cluster.tell()


def left_on_node(machine):
    """What volumes were, and nobody uses."""
    kubelet = f"{machine.root}{KUBELET}"
    mounts = csi_node.mounts_below(KUBELET, machine.process)
    return (
        [target for target in mounts if "csi" in target]
        + [" ".join(pair) for pair in csi_node.loops_below(KUBELET).items()]
        + csi_node.servers_below(KUBELET)
        + glob.glob(f"{kubelet}/plugins/csi.ramvol.dev/volumes/*")
        + glob.glob(f"{kubelet}/plugins/kubernetes.io/csi/csi.ramvol.dev/*")
    )


def check_left(machine):
    """A kubelet that was away is somewhat later."""
    if left := left_on_node(machine):
        raise CommandError(f"left: {left}")
    return True


def sweep():
    """Takes away what a test that ended early has left on this machine. Devices are
    found as long as their processes are there, and unmounted only without: ramvold is
    gone, for which those would wait."""
    for device in csi_node.loops_below(KUBELET):
        subprocess.run(["losetup", "--detach", device], check=False)
    for pid in csi_node.servers_below(KUBELET):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for target in csi_node.mounts_below(KUBELET):
        subprocess.run(["umount", "--lazy", target], check=False)
    for node in PodTest.cluster.nodes:
        node.remove_cgroups()


def make_golden_image(root):
    """A file system on a node, where the values of the chart say that it is."""
    folder = f"{root}/var/lib/images"
    os.makedirs(f"{folder}/files", exist_ok=True)
    with open(f"{folder}/files/file", "w", encoding="utf-8") as file:
        file.write("golden")
    with contextlib.suppress(FileNotFoundError):
        os.remove(f"{folder}/golden")
    command = ["mkfs.ext4", "-q", "-d", f"{folder}/files", f"{folder}/golden", "64M"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
