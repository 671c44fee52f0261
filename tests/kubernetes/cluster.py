"""A cluster: etcd, the API server, the controller manager and the scheduler on the first
node, and one more node if wanted. Everything is below one folder, or in folders that only
the node has (own_machine)."""

import contextlib
import glob
import json
import os
import subprocess
import sys

import own_machine
from node import Node, write
from own_machine import API_ADDRESS
from processes import PATIENCE, CommandError, Programs, wait_until

NODE = own_machine.Own.name


class Cluster:
    def __init__(self, folder, tools):
        """`tools` says where programs are: `kubernetes` is a folder of them, `debian` what
        packages were unpacked to, `helm` the program."""
        self.folder = folder
        self._bin = tools.kubernetes
        self._debian = tools.debian
        self._helm = tools.helm
        self._programs = Programs(folder, tools.debian)
        self._tools = tools
        self._images = []
        self.nodes = [Node(folder, tools, own_machine.Own())]
        self.config = f"{folder}/kubeconfig"
        os.makedirs(f"{folder}/certs")

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
        names = f"IP:{API_ADDRESS},IP:{own_machine.Own.address},IP:127.0.0.1"
        self._openssl(
            *("req", "-x509", *new_key, "-subj", "/CN=kube-apiserver"),
            *("-addext", f"subjectAltName={names}", "-CA", "ca.crt"),
            *("-CAkey", "ca.key", "-keyout", "api.key", "-out", "api.crt"),
        )

    def _start_api(self):
        etcd = "http://127.0.0.1:2379"
        peers = "http://127.0.0.1:2380"
        self._programs.start(
            "etcd",
            f"{self._debian}/usr/bin/etcd",
            *("--data-dir", f"{self.folder}/etcd", "--unsafe-no-fsync"),
            *("--listen-client-urls", etcd, "--advertise-client-urls", etcd),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"default={peers}"),
        )
        write(f"{self.folder}/tokens", "admin-token,admin,1,system:masters\n")
        certs = f"{self.folder}/certs"
        self._programs.start(
            "kube-apiserver",
            f"{self._bin}/kube-apiserver",
            f"--etcd-servers={etcd}",
            "--secure-port=443",
            f"--advertise-address={own_machine.Own.address}",
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
        write(
            self.config,
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": {"token": "admin-token"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            },
        )

    def _start_controllers(self):
        certs = f"{self.folder}/certs"
        self._programs.start(
            "kube-controller-manager",
            f"{self._bin}/kube-controller-manager",
            f"--kubeconfig={self.config}",
            "--leader-elect=false",
            "--node-monitor-grace-period=15s",
            f"--service-account-private-key-file={certs}/sa.key",
            f"--root-ca-file={certs}/ca.crt",
        )
        self._programs.start(
            "kube-scheduler",
            f"{self._bin}/kube-scheduler",
            f"--kubeconfig={self.config}",
            "--leader-elect=false",
        )

    def start(self, images):
        self._images = images
        self._make_certificates()
        self._start_api()
        (node,) = self.nodes
        node.start(self.config, images)
        wait_until(
            "the API server", lambda: self.kubectl("get", "--raw=/readyz") == "ok"
        )
        self._start_controllers()
        self._wait_for(node)

    def add_node(self):
        """A second one, with a machine of its own."""
        node = Node(self.folder, self._tools, own_machine.Another(self.folder))
        self.nodes.append(node)
        self.start_node(node, self._images)
        return node

    def start_node(self, node, images=()):
        node.machine.start()
        node.start(self.config, images)
        self._wait_for(node)

    def _wait_for(self, node):
        def is_ready():
            self._programs.check()
            node.check()
            return self.is_ready(node)

        wait_until(node.name, is_ready)

    def is_ready(self, node):
        path = '{.status.conditions[?(@.type=="Ready")].status}'
        return self.kubectl("get", "node", node.name, f"-ojsonpath={path}") == "True"

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
        paths = glob.glob(f"{self.folder}/log/*") + glob.glob(f"{self.folder}/*/log/*")
        for node in self.nodes:
            paths += glob.glob(f"{node.machine.root}/var/log/pods/*/*/*.log")
        for path in sorted(paths):
            _tell(path)

    def stop(self):
        with contextlib.ExitStack() as steps:  # The last one first.
            steps.callback(self._programs.end, "kube-apiserver", "etcd")
            steps.callback(self.nodes[0].stop)
            steps.callback(
                self._programs.end, "kube-scheduler", "kube-controller-manager"
            )
            for node in self.nodes[1:]:
                steps.callback(node.lose)


def _tell(path, size=3000):
    with open(path, encoding="utf-8", errors="replace") as file:
        print(f"=== {path}\n{file.read()[-size:]}", file=sys.stderr)
