"""Volumes of ramvol in pods of two Kubernetes nodes: a part of cluster_test.py."""

import json
import time

from pods import NAMESPACE, PodTest, manifest, on, say
from processes import wait_until

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


class TwoNodes(PodTest):
    """A second node joins. What both share is the API server, and the kernel: its loop
    devices are those of both."""

    @classmethod
    def setUpClass(cls):
        began = time.monotonic()
        cls.cluster.add_node()
        say("second node ready", time.monotonic() - began)
        cls.first, cls.second = cls.cluster.nodes
        cls.values = (
            *cls.values,
            "--set=replicas=0",
            "--set=csi.nodeSelector=null,csi.snapshotMetadata.enabled=false",
        )
        super().setUpClass()

    def pod_of(self, app):
        """The one that is not about to go; None if there is none."""
        pods = self.cluster.get("pods", f"--selector=app={app}")["items"]
        found = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return found[0] if found else None

    def runs_on(self, app, node):
        pod = self.pod_of(app)
        return (
            pod is not None
            and pod["spec"].get("nodeName") == node.name
            and pod["status"]["phase"] == "Running"
        )

    def why_not_scheduled(self, pod):
        """The scheduler's words; "" if it has not decided, or has found a node."""
        for each in pod["status"].get("conditions", []) if pod else []:
            if each["type"] == "PodScheduled" and each["status"] == "False":
                return each["message"]
        return ""

    def start_deployments(self):
        """Their pods are on the second node."""
        self.apply(manifest("claims"))
        self.cluster.kubectl("cordon", self.first.name)
        self.apply(manifest("deployments"))
        for app in "scratch", "inline", "keeper":
            wait_until(app, lambda app=app: self.runs_on(app, self.second))
        self.cluster.kubectl("uncordon", self.first.name)
        self.assertEqual(len(self.volumes(self.second)), 3)
        self.assertEqual(self.volumes(self.first), [])

    def test_volumes_stay_on_their_node(self):
        """Pods go where their volume is, and so do its copies."""
        self.apply(manifest("claims") + "---\n" + manifest("golden"))
        read = "cat /files/file"
        text = self.run_pod("first", "copy", read, node=self.second)
        self.assertEqual(text, "golden")
        write = "echo monday > /files/file"
        self.run_pod("second", "files", write, node=self.second)
        self.take_snapshot("monday", "files")
        change = f"{read}; echo tuesday > /files/file"
        self.assertEqual(self.run_pod("third", "files", change), "monday\n")
        copies = manifest("copies")
        self.apply(copies.replace("Name: ramvol\n", "Name: ramvol-copies\n"))
        self.assertEqual(self.run_pod("fourth", "clone", read), "tuesday\n")
        self.assertEqual(self.run_pod("fifth", "restored", read), "monday\n")
        self.assertEqual(len(self.volumes(self.second)), 4)
        self.assertEqual(self.volumes(self.first), [])

    def test_growth_on_both_nodes(self):
        """Of which one has the resizer that speaks for both."""
        grown = {"spec": {"resources": {"requests": {"storage": "800Mi"}}}}
        for node in self.cluster.nodes:
            text = manifest("growing").replace("name: growing", f"name: {node.name}")
            self.apply(text)
            values = {"CLAIM": node.name, "COMMAND": "sleep 1000000"}
            self.apply(on(node, manifest("pod", NAME=node.name, **values)))
        for node in self.cluster.nodes:
            name = node.name
            wait_until(name, lambda name=name: self.phase(name) == "Running")
            self.cluster.kubectl("patch", "pvc", name, "-p", json.dumps(grown))
        for node in self.cluster.nodes:
            wait_until("growth", lambda node=node: self.size(node.name) == "800Mi")

    def size(self, claim):
        return self.cluster.get("pvc", claim)["status"]["capacity"]["storage"]

    def test_a_node_that_is_full(self):
        """What it has no room for goes to the other one, or waits."""
        for name in "one", "two", "three":
            self.apply(manifest("big", NAME=name))
        self.run_pod("one", "one", "true", node=self.first)
        self.run_pod("two", "two", "true")
        self.assertEqual(len(self.volumes(self.second)), 1)
        began = time.monotonic()
        values = {"NAME": "three", "CLAIM": "three", "COMMAND": "true"}
        self.apply(manifest("pod", **values))
        wait_until(
            "no room",
            lambda: (
                "did not have enough free storage"
                in self.why_not_scheduled(self.cluster.get("pod", "three"))
            ),
        )
        self.cluster.kubectl("delete", "pvc", "one", "--wait")
        self.succeed("three", began)
        self.assertEqual(len(self.volumes(self.first)), 1)

    def test_drain(self):
        """A pod with a volume of its own starts anew elsewhere. One with a claim waits,
        and has its data when the node is back."""
        self.start_deployments()
        began = time.monotonic()
        self.addCleanup(self.cluster.kubectl, "uncordon", self.second.name)
        self.cluster.kubectl("drain", self.second.name, "--ignore-daemonsets")
        say("drained", time.monotonic() - began)
        for app in "scratch", "inline":
            wait_until(app, lambda app=app: self.runs_on(app, self.first))
        self.assertEqual(len(self.volumes(self.first)), 2)
        wait_until("one volume", lambda: len(self.volumes(self.second)) == 1)
        why = wait_until("why", lambda: self.why_not_scheduled(self.pod_of("keeper")))
        self.assertIn("PersistentVolume's node affinity", why)
        self.cluster.kubectl("uncordon", self.second.name)
        wait_until("keeper", lambda: self.runs_on("keeper", self.second))
        text = self.cluster.kubectl("logs", "deployment/keeper")
        self.assertEqual(text, "kept\n")

    def test_a_node_that_restarts(self):
        """Its pods stay where they are. Those with an inline volume, or one that is made
        anew, begin anew; others say what they lack, until they are deleted."""
        self.start_deployments()
        self.second.lose()
        self.come_back()
        wait_until("new volumes", lambda: len(self.volumes(self.second)) == 2)
        for app in "scratch", "inline":
            read = ("exec", f"deployment/{app}", "--", "cat", "/files/file")
            wait_until(app, lambda read=read: self.cluster.kubectl(*read) == "used\n")
            self.assertTrue(self.runs_on(app, self.second))
        self.wait_for_loss("keeper", "files")
        self.cluster.kubectl("delete", "pods", "--all", "--wait")
        self.assertFalse(self.runs_on("keeper", self.second))

    def wait_for_loss(self, app, claim):
        """Until the driver has said it to the pod, which cannot start. (The kubelet passes
        on no more than 25 events of a pod, and it began before the driver did.)"""
        volume = self.cluster.get("pvc", claim)["spec"]["volumeName"]
        driver = ("--selector=app.kubernetes.io/name=ramvol-csi", "--tail=-1")
        where = (f"--namespace={NAMESPACE}", "--container=ramvol-csi", *driver)
        wait_until(
            f"the loss of {volume}",
            lambda: (
                f'there is no volume "{volume}"' in self.cluster.kubectl("logs", *where)
            ),
        )
        self.assertEqual(self.pod_of(app)["spec"]["nodeName"], self.second.name)

    def delete_by_hand(self):
        """As docs/kubernetes.md says, what would wait for the node's provisioner."""

        def released():
            volumes = self.cluster.get("pv")["items"]
            phases = {pv["metadata"]["name"]: pv["status"]["phase"] for pv in volumes}
            return [name for name, phase in phases.items() if phase == "Released"]

        (name,) = wait_until("a volume to be released", released)
        self.cluster.kubectl("delete", "pv", name, "--wait=false")
        patch = '{"metadata": {"finalizers": null}}'
        self.cluster.kubectl("patch", "pv", name, "--type=merge", f"--patch={patch}")
        self.assertEqual(released(), [])

    def come_back(self):
        """The second node, with all that runs on each one."""
        self.cluster.start_node(self.second)
        words = ("ls", "--quiet")
        wait_until(
            "the image",
            lambda: "golden" in self.ramvol(*words, node=self.second).split(),
        )

    def test_lost_node(self):
        """Its volumes are lost. Its driver finds what is left of them on the node's disk,
        among that the names of devices that are those of others by now."""
        self.start_deployments()
        began = time.monotonic()
        self.second.lose()
        wait_until("loss", lambda: not self.cluster.is_ready(self.second))
        say("node missed", time.monotonic() - began)
        taint = ("taint", "node", self.second.name)
        self.cluster.kubectl(*taint, f"{OUT_OF_SERVICE}=lost:NoExecute")
        for app in "scratch", "inline":
            wait_until(app, lambda app=app: self.runs_on(app, self.first))
        say("pods replaced", time.monotonic() - began)
        wait_until("keeper", lambda: self.why_not_scheduled(self.pod_of("keeper")))
        self.delete_by_hand()
        self.cluster.kubectl(*taint, f"{OUT_OF_SERVICE}-")
        self.come_back()
        say("node is back", time.monotonic() - began)
        self.wait_for_loss("keeper", "files")
        use = "cat /files/file; echo more > /files/more; sync"
        for app in "scratch", "inline":
            where = (f"deployment/{app}", "--", "sh", "-ec", use)
            self.assertEqual(self.cluster.kubectl("exec", *where), "used\n")
