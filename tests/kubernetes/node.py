"""A node of the cluster: containerd with runc, and a kubelet. Node 1 is this process's own
machine; others have one each."""

import contextlib
import glob
import json
import os
import subprocess

import pods
from processes import PATIENCE, Programs, wait_until

KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "address": "0.0.0.0",
    "authentication": {
        "anonymous": {"enabled": True},
        "webhook": {"enabled": False},
    },
    "authorization": {"mode": "AlwaysAllow"},
    "cgroupDriver": "cgroupfs",
    "enforceNodeAllocatable": [],
    "failSwapOn": False,
    "failCgroupV1": False,
    "oomScoreAdj": 0,
    "makeIPTablesUtilChains": False,
    "resolvConf": "/dev/null",
    "imageGCHighThresholdPercent": 100,
    "evictionHard": {
        "memory.available": "50Mi",
        "nodefs.available": "0%",
        "imagefs.available": "0%",
    },
    # So that what changes in a ConfigMap or a Secret is soon there.
    "syncFrequency": "5s",
    "volumeStatsAggPeriod": "5s",
    # A node that is lost is soon missed.
    "nodeLeaseDurationSeconds": 12,
}

CONTAINERD = """\
version = 2
root = "{0}/root"
state = "{0}/state"
oom_score = 0
[grpc]
address = "{0}/s.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:1"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{1}/usr/lib/cni"
conf_dir = "{0}/cni"
"""


OURS = ("kubepods", "ramvol-csi")  # In the root of cgroups.


def network(subnet):
    plugin = {
        "type": "ptp",
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": subnet}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": "/run/cni",
        },
    }
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [plugin]}


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text if isinstance(text, str) else json.dumps(text))
    return path


class Node:
    def __init__(self, folder, tools, machine):
        self.machine = machine
        self.name = machine.name
        self.folder = f"{folder}/{machine.name}"
        self._bin = tools.kubernetes
        self._debian = tools.debian
        self._programs = None

    def start(self, config, images):
        """`config` is the kubeconfig, and `images` the archives that it has to import."""
        self._programs = Programs(self.folder, self._debian, self.machine.command())
        self._start_containerd()
        for root in _hierarchies():
            os.makedirs(root + self.machine.cgroup, exist_ok=True)
        kubelet = dict(
            KUBELET,
            containerRuntimeEndpoint=f"unix://{self.folder}/containerd/s.sock",
            # Of its own, since a kubelet ends the pods there that it does not know.
            cgroupRoot=self.machine.cgroup or "/",
        )
        self._programs.start(
            "kubelet",
            f"{self._bin}/kubelet",
            f"--config={write(f'{self.folder}/kubelet.json', kubelet)}",
            f"--kubeconfig={config}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.machine.address}",
            "--runtime-cgroups=/",
            "--kubelet-cgroups=/",
        )
        for image in images:
            done = self._ctr("images", "import", image)
            assert done.returncode == 0, done.stderr

    def _start_containerd(self):
        folder = f"{self.folder}/containerd"
        config = write(f"{folder}/config.toml", CONTAINERD.format(folder, self._debian))
        write(f"{folder}/cni/pods.conflist", network(self.machine.pods))
        program = f"{self._debian}/usr/bin/containerd"
        self._programs.start("containerd", program, "--config", config)
        wait_until("containerd", lambda: self._ctr("version").returncode == 0)

    def _ctr(self, *words):
        socket = f"{self.folder}/containerd/s.sock"
        return subprocess.run(
            [f"{self._debian}/usr/bin/ctr", "-a", socket, "-n", "k8s.io", *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def check(self):
        self._programs.check()

    def lose(self):
        """The node, at once. Its devices go as well, which they would with its kernel."""
        volumes = f"{pods.KUBELET}/plugins/csi.ramvol.dev/volumes"
        devices = []
        for note in glob.glob(f"{self.machine.root}{volumes}/*.loop"):
            with contextlib.suppress(FileNotFoundError):
                with open(note, encoding="ascii") as file:
                    device = file.read()
                # A note may be out of date, and its device somebody else's.
                name = os.path.basename(note).removesuffix(".loop")
                if pods.csi_node.backing_file(device) in ("/", f"{volumes}/{name}"):
                    devices.append(device)
        self.machine.end()
        for device in devices:
            subprocess.run(["losetup", "--detach", device], check=False)
        self.remove_cgroups()

    def stop(self):
        """The containers go before what knows them."""
        self._programs.end("kubelet")
        for task in self._ctr("tasks", "ls", "-q").stdout.split():
            self._ctr("tasks", "kill", "-s", "SIGKILL", task)
        for task in self._ctr("containers", "ls", "-q").stdout.split():
            wait_until(task, lambda t=task: self._delete(t), patience=20)
        self._programs.end("containerd")

    def _delete(self, container):
        self._ctr("tasks", "rm", container)
        return self._ctr("containers", "rm", container).returncode == 0

    def remove_cgroups(self):
        """The kubelet's and the driver's, which they leave."""
        for root in _hierarchies():
            names = (self.machine.cgroup,) if self.machine.cgroup else OURS
            for name in names:
                for folder, _, _ in os.walk(f"{root}/{name}", topdown=False):
                    with contextlib.suppress(OSError):
                        os.rmdir(folder)


def _hierarchies():
    """Where cgroups are: of version 2, or of each controller."""
    root = "/sys/fs/cgroup"
    if os.path.exists(f"{root}/cgroup.controllers"):
        return [root]
    with os.scandir(root) as entries:
        return [entry.path for entry in entries if entry.is_dir()]
