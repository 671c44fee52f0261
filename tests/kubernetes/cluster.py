"""A cluster of one node: etcd, the API server, the controller manager, the scheduler, a
kubelet with containerd and runc. Everything is below one folder, or in the kubelet's own
/var/lib/kubelet, which only this process sees (own_machine)."""

import contextlib
import glob
import json
import os
import subprocess
import sys
import time

from own_machine import API_ADDRESS, NODE_ADDRESS

NODE = "node-1"
PATIENCE = 120  # Seconds; for a busy machine, not what is normal.

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

NETWORK = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.244.0.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": "/run/cni",
            },
        }
    ],
}


class CommandError(AssertionError):
    """A command of the cluster's failed; the text has its errors."""


def wait_until(what, condition, patience=PATIENCE):
    """Returns what the condition does, once that is true. A busy API server may fail."""
    end = time.monotonic() + patience
    why = ""
    while time.monotonic() < end:
        try:
            if value := condition():
                return value
        except CommandError as error:
            why = f": {error}"
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {patience} s{why}")


class Cluster:
    def __init__(self, folder, tools):
        """`tools` says where programs are: `kubernetes` is a folder of them, `debian` what
        packages were unpacked to, `helm` the program."""
        self.folder = folder
        self._bin = tools.kubernetes
        self._debian = tools.debian
        self._helm = tools.helm
        self._programs = {}
        self.config = f"{folder}/kubeconfig"
        os.makedirs(f"{folder}/log")
        os.makedirs(f"{folder}/certs")

    def _start(self, name, program, *args):
        path = f"{self._debian}/usr/bin:{os.environ['PATH']}"
        with open(f"{self.folder}/log/{name}", "ab") as log:
            self._programs[name] = subprocess.Popen(
                [program, *args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={"PATH": path, "HOME": self.folder},
            )

    def _write(self, name, text):
        path = f"{self.folder}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text if isinstance(text, str) else json.dumps(text))
        return path

    def _openssl(self, *words):
        subprocess.run(
            ["openssl", *words],
            check=True,
            cwd=f"{self.folder}/certs",
            capture_output=True,
        )

    def _make_certificates(self):
        new_key = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
        self._openssl("genrsa", "-out", "sa.key", "2048")
        self._openssl(
            *("req", "-x509", *new_key, "-subj", "/CN=test-ca"),
            *("-keyout", "ca.key", "-out", "ca.crt"),
        )
        names = f"IP:{API_ADDRESS},IP:{NODE_ADDRESS},IP:127.0.0.1"
        self._openssl(
            *("req", "-x509", *new_key, "-subj", "/CN=kube-apiserver"),
            *("-addext", f"subjectAltName={names}", "-CA", "ca.crt"),
            *("-CAkey", "ca.key", "-keyout", "api.key", "-out", "api.crt"),
        )

    def _start_api(self):
        etcd = "http://127.0.0.1:2379"
        peers = "http://127.0.0.1:2380"
        self._start(
            "etcd",
            f"{self._debian}/usr/bin/etcd",
            *("--data-dir", f"{self.folder}/etcd", "--unsafe-no-fsync"),
            *("--listen-client-urls", etcd, "--advertise-client-urls", etcd),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"default={peers}"),
        )
        self._write("tokens", "admin-token,admin,1,system:masters\n")
        certs = f"{self.folder}/certs"
        self._start(
            "kube-apiserver",
            f"{self._bin}/kube-apiserver",
            f"--etcd-servers={etcd}",
            "--secure-port=443",
            f"--advertise-address={NODE_ADDRESS}",
            f"--tls-cert-file={certs}/api.crt",
            f"--tls-private-key-file={certs}/api.key",
            "--service-cluster-ip-range=10.96.0.0/24",
            f"--service-account-key-file={certs}/sa.key",
            f"--service-account-signing-key-file={certs}/sa.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=RBAC",
            f"--token-auth-file={self.folder}/tokens",
            "--allow-privileged",
            "--endpoint-reconciler-type=none",
            "--kubelet-preferred-address-types=InternalIP",
            # It wants a later etcd than Debian 12 has.
            "--feature-gates=SizeBasedListCostEstimate=false",
        )
        cluster = {
            "server": f"https://{API_ADDRESS}",
            "certificate-authority": f"{certs}/ca.crt",
        }
        self._write(
            "kubeconfig",
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": {"token": "admin-token"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            },
        )

    def _start_containerd(self, images):
        config = CONTAINERD.format(f"{self.folder}/containerd", self._debian)
        path = self._write("containerd/config.toml", config)
        self._write("containerd/cni/pods.conflist", NETWORK)
        self._start(
            "containerd", f"{self._debian}/usr/bin/containerd", "--config", path
        )
        wait_until("containerd", lambda: self._ctr("version").returncode == 0)
        for image in images:
            done = self._ctr("images", "import", image)
            assert done.returncode == 0, done.stderr

    def _ctr(self, *words):
        socket = f"{self.folder}/containerd/s.sock"
        return subprocess.run(
            [f"{self._debian}/usr/bin/ctr", "-a", socket, "-n", "k8s.io", *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def _start_node(self):
        certs = f"{self.folder}/certs"
        self._start(
            "kube-controller-manager",
            f"{self._bin}/kube-controller-manager",
            f"--kubeconfig={self.config}",
            "--leader-elect=false",
            f"--service-account-private-key-file={certs}/sa.key",
            f"--root-ca-file={certs}/ca.crt",
        )
        self._start(
            "kube-scheduler",
            f"{self._bin}/kube-scheduler",
            f"--kubeconfig={self.config}",
            "--leader-elect=false",
        )
        runtime = f"unix://{self.folder}/containerd/s.sock"
        kubelet = dict(KUBELET, containerRuntimeEndpoint=runtime)
        self._start(
            "kubelet",
            f"{self._bin}/kubelet",
            f"--config={self._write('kubelet.json', kubelet)}",
            f"--kubeconfig={self.config}",
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_ADDRESS}",
            "--runtime-cgroups=/",
            "--kubelet-cgroups=/",
        )

    def start(self, images):
        self._make_certificates()
        self._start_api()
        self._start_containerd(images)
        wait_until(
            "the API server", lambda: self.kubectl("get", "--raw=/readyz") == "ok"
        )
        self._start_node()
        wait_until("the node", self._is_ready)

    def _is_ready(self):
        dead = [name for name, p in self._programs.items() if p.poll() is not None]
        assert not dead, f"{dead} ended"
        path = '{.status.conditions[?(@.type=="Ready")].status}'
        return self.kubectl("get", "node", NODE, f"-ojsonpath={path}") == "True"

    def _run(self, program, *words, **options):
        """Its output; or a CommandError."""
        result = subprocess.run(
            [program, "--kubeconfig", self.config, *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE,
            env=dict(os.environ, HOME=self.folder),
            **options,
        )
        if result.returncode != 0:
            raise CommandError(f"{program} {' '.join(words)}: {result.stderr}")
        return result.stdout

    def kubectl(self, *words, **options):
        return self._run(f"{self._bin}/kubectl", *words, **options)

    def helm(self, *words):
        return self._run(self._helm, *words)

    def restart(self, daemon_set, namespace):
        """As an update does: the pod is replaced."""
        where = (f"daemonset/{daemon_set}", f"--namespace={namespace}")
        self.kubectl("rollout", "restart", *where)
        self.kubectl("rollout", "status", *where, f"--timeout={PATIENCE}s")

    def get(self, *words):
        return json.loads(self.kubectl("get", "-ojson", *words))

    def tell(self):
        """What the programs and the pods last said."""
        for name in sorted(os.listdir(f"{self.folder}/log")):
            _tell(f"{self.folder}/log/{name}")
        for path in sorted(glob.glob("/var/log/pods/*/*/*.log")):
            _tell(path)

    def stop(self):
        """The containers go before what knows them."""
        for name in ("kubelet", "kube-scheduler", "kube-controller-manager"):
            self._end(name)
        for task in self._ctr("tasks", "ls", "-q").stdout.split():
            self._ctr("tasks", "kill", "-s", "SIGKILL", task)
        for task in self._ctr("containers", "ls", "-q").stdout.split():
            wait_until(task, lambda t=task: self._delete(t), patience=20)
        for name in ("containerd", "kube-apiserver", "etcd"):
            self._end(name)

    def _delete(self, container):
        self._ctr("tasks", "rm", container)
        return self._ctr("containers", "rm", container).returncode == 0

    def _end(self, name):
        program = self._programs.pop(name, None)
        if program is None:
            return
        program.terminate()
        try:
            program.wait(20)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


def _tell(path, size=3000):
    with open(path, encoding="utf-8", errors="replace") as file:
        print(f"=== {path}\n{file.read()[-size:]}", file=sys.stderr)


def remove_cgroups():
    """The kubelet's and the driver's, which they leave."""
    for root in ("/sys/fs/cgroup", *_hierarchies()):
        for name in ("kubepods", "ramvol-csi"):
            for folder, _, _ in os.walk(f"{root}/{name}", topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)


def _hierarchies():
    with os.scandir("/sys/fs/cgroup") as entries:
        return [entry.path for entry in entries if entry.is_dir()]
