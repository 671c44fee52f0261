"""Volumes of ramvol in pods of a real Kubernetes: run by `./dev cluster`."""

import argparse
import base64
import contextlib
import glob
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

import own_machine
from cluster import NODE, Cluster
from cluster_nodes_test import TwoNodes
from machine_images import Images
from pods import HERE, NAMESPACE, PodTest, Result, csi_node, manifest, say, sweep
from processes import PATIENCE, wait_until

MIB = 1 << 20


class Test(PodTest):
    """On one node."""

    def test_ephemeral_volumes(self):
        began = time.monotonic()
        self.apply(manifest("ephemeral"))
        lines = self.succeed("ephemeral", began).split()
        self.assertEqual(lines[2:], ["scratch", "inline"])
        # Kilobytes, without what ext4 needs.
        self.assertGreater(int(lines[0]), 900 * 1024)
        self.assertGreater(int(lines[1]), 100 * 1024)

    def test_claims_outlive_pods(self):
        self.apply(manifest("claims"))
        self.run_pod("first", "files", "echo kept > /files/file")
        self.assertEqual(self.run_pod("second", "files", "cat /files/file"), "kept\n")
        write = "printf kept | dd of=/dev/disk conv=notrunc,fsync 2>/dev/null"
        self.run_pod("third", "disk", write, kind="disk_pod")
        read = "dd if=/dev/disk bs=4 count=1 2>/dev/null"
        self.assertEqual(self.run_pod("fourth", "disk", read, kind="disk_pod"), "kept")

    def test_clones_and_snapshots(self):
        self.apply(manifest("claims"))
        self.run_pod("first", "files", "echo monday > /files/file")
        self.take_snapshot("monday", "files")
        self.run_pod("second", "files", "echo tuesday > /files/file")
        self.apply(manifest("copies"))
        self.assertEqual(self.run_pod("third", "clone", "cat /files/file"), "tuesday\n")
        change = "cat /files/file; echo restored > /files/file"
        self.assertEqual(self.run_pod("fourth", "restored", change), "monday\n")
        self.assertEqual(self.run_pod("fifth", "files", "cat /files/file"), "tuesday\n")

    def set_groups(self, on):
        """Which is another way to run the driver's pod."""
        values = ("--reuse-values", f"--set=csi.snapshots.groups={json.dumps(on)}")
        namespace = f"--namespace={NAMESPACE}"
        self.cluster.helm("upgrade", "ramvol", self.chart, namespace, *values)
        where = ("daemonset/ramvol-csi", namespace)
        self.cluster.kubectl("rollout", "status", *where, f"--timeout={PATIENCE}s")

    def test_groups(self):
        """Snapshots of two claims at one instant, which go together."""
        self.set_groups(True)
        self.addCleanup(self.set_groups, False)
        self.apply(manifest("claims"))
        self.cluster.kubectl("label", "pvc", "files", "disk", "backup=together")
        self.run_pod("first", "files", "echo monday > /files/file")
        write = "printf monday | dd of=/dev/disk conv=notrunc,fsync 2>/dev/null"
        self.run_pod("second", "disk", write, kind="disk_pod")
        began = time.monotonic()
        self.apply(manifest("group"))
        self.wait_for_snapshot("volumegroupsnapshot", "both", began)
        self.run_pod("third", "files", "echo tuesday > /files/file")
        write = "printf tuesday | dd of=/dev/disk conv=notrunc,fsync 2>/dev/null"
        self.run_pod("fourth", "disk", write, kind="disk_pod")
        members = {
            each["spec"]["source"]["persistentVolumeClaimName"]: each["metadata"][
                "name"
            ]
            for each in self.cluster.get("volumesnapshot")["items"]
        }
        self.assertEqual(set(members), {"files", "disk"})
        values = {"FILES": members["files"], "DISK": members["disk"]}
        self.apply(manifest("group_copies", **values))
        self.assertEqual(
            self.run_pod("fifth", "old-files", "cat /files/file"), "monday\n"
        )
        read = "dd if=/dev/disk bs=7 count=1 2>/dev/null"
        text = self.run_pod("sixth", "old-disk", read, kind="disk_pod")
        self.assertEqual(text.rstrip("\0"), "monday")

    def test_blocks_for_backups(self):
        """A backup is told of the blocks that differ, by the address in the cluster."""
        self.cluster.kubectl("create", "serviceaccount", "backup")
        self.addCleanup(self.cluster.kubectl, "delete", "serviceaccount", "backup")
        rights = ("--clusterrole=view-snapshots", "--serviceaccount=default:backup")
        may_get = ("--verb=get", "--resource=volumesnapshots.snapshot.storage.k8s.io")
        self.cluster.kubectl("create", "clusterrole", "view-snapshots", *may_get)
        self.cluster.kubectl("create", "rolebinding", "backup", *rights)
        self.apply(manifest("claims"))
        for day, block in ("monday", 1), ("tuesday", 5000):
            write = (
                f"echo {day} | dd of=/dev/disk bs=4k seek={block} conv=notrunc,fsync"
            )
            self.run_pod(day, "disk", f"{write} 2>/dev/null", kind="disk_pod")
            self.take_snapshot(day, "disk")
        backups = Backups(self.cluster)
        token = backups.token("backup")
        self.assertEqual(backups.ask(token, "monday"), (200, [(4096, 4096)]))
        monday = backups.handle("monday")
        status, runs = backups.ask(token, f"tuesday?base={monday}")
        self.assertEqual(status, 200)
        self.assertTrue(covers(runs, 5000 * 4096), runs)
        self.assertFalse(covers(runs, 4096), runs)
        self.assertEqual(backups.ask(backups.token("default"), "monday")[0], 403)
        other = backups.token("backup", audience="other")
        self.assertEqual(backups.ask(other, "monday")[0], 401)

    def test_golden_image(self):
        """For a claim, and inline: the image's pod has offered it."""
        self.apply(manifest("golden"))
        read = "cat /files/file"
        self.assertEqual(self.run_pod("first", "copy", read), "golden")
        text = self.run_pod("second", claim="", command=read, kind="inline_pod")
        self.assertEqual(text, "golden")

    def test_growth_while_mounted(self):
        self.apply(manifest("growing"))
        self.hold("holder", "growing")
        self.grow("holder", "growing")

    def grow(self, pod, claim):
        """The claim of growing.yaml, which the pod has as /files."""
        patch = {"spec": {"resources": {"requests": {"storage": "800Mi"}}}}
        began = time.monotonic()
        self.cluster.kubectl("patch", "pvc", claim, "-p", json.dumps(patch))
        wait_until("growth", lambda: self.claim_size(claim) == "800Mi")
        say("grown", time.monotonic() - began)
        size = self.cluster.kubectl("exec", pod, "--", "df", "/files")
        self.assertGreater(int(size.split()[-5]), 700 * 1024)

    def hold(self, pod, claim):
        """The claim, until the pod is deleted."""
        self.apply(manifest("pod", NAME=pod, CLAIM=claim, COMMAND="sleep 1000000"))
        wait_until(pod, lambda: self.phase(pod) == "Running")

    def claim_size(self, claim):
        return self.cluster.get("pvc", claim)["status"]["capacity"]["storage"]

    def start_fio(self):
        began = time.monotonic()
        self.apply(manifest("fio"))
        wait_until("fio", lambda: self.phase("fio") == "Running")
        return began

    def finish_fio(self, began):
        """It is still running, and has read what it wrote."""
        self.assertEqual(self.phase("fio"), "Running")
        text = self.succeed("fio", began)
        job = json.loads(text[text.index("{") :])["jobs"][0]
        self.assertEqual(job["error"], 0)
        self.assertGreaterEqual(job["job_runtime"], 20_000)
        pause = max(job[way]["clat_ns"]["max"] for way in ("read", "write"))
        say("longest operation", pause / 1e9)

    def test_restart_of_ramvold(self):
        self.apply(manifest("claims"))
        began = self.start_fio()
        time.sleep(5)
        self.cluster.restart("ramvol-csi-server", NAMESPACE)
        self.finish_fio(began)

    def test_restart_of_the_driver(self):
        """Its pod is replaced, then its container: pods go on, volumes grow, ramvold may
        restart, and no device stays behind."""
        self.apply(manifest("claims"))
        self.run_pod("first", "files", "echo kept > /files/file")
        self.apply(manifest("growing"))
        self.hold("holder", "growing")
        began = self.start_fio()
        devices = mounted_devices()
        self.assertEqual(len(devices), 2)
        for volume in self.cluster.get("pv")["items"]:
            why = volume["spec"]["csi"]["volumeAttributes"]["attachReason"]
            self.assertIn("devices outlive this container", why)
        self.cluster.restart("ramvol-csi", NAMESPACE)
        say("driver replaced", time.monotonic() - began)
        self.kill("ramvol-csi")
        say("driver's container replaced", time.monotonic() - began)
        self.assertEqual(mounted_devices(), devices)
        self.finish_fio(began)
        self.grow("holder", "growing")
        self.cluster.restart("ramvol-csi-server", NAMESPACE)
        write = "dd if=/dev/zero of=/files/file bs=1M count=10 conv=fsync"
        self.cluster.kubectl("exec", "holder", "--", "sh", "-ec", write)
        for pod in "fio", "holder":
            self.cluster.kubectl("delete", "pod", pod, "--wait")
        # Of another test by now, perhaps, which shows another file.
        lost = [each for each in devices if csi_node.backing_file(each) == "/"]
        self.assertEqual(lost, [])
        self.assertEqual(self.run_pod("last", "files", "cat /files/file"), "kept\n")

    def kill(self, container):
        """Of the driver's pod: the program ends by SIGKILL, and is started again."""
        before = self.restarts(container)
        for path in glob.glob("/proc/[0-9]*/comm"):
            with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
                if file.read() == f"{container}\n":
                    os.kill(int(path.split("/")[2]), signal.SIGKILL)
        wait_until("restart", lambda: self.restarts(container) > before)

    def test_restart_of_a_sidecar(self):
        """It has a copy of what is mounted, but holds nothing."""
        self.apply(manifest("claims"))
        self.hold("holder", "files")
        self.kill("csi-resizer")

    def restarts(self, container):
        """How often a container of the driver's pod was started again."""
        label = "--selector=app.kubernetes.io/name=ramvol-csi"
        pod = self.cluster.get(f"--namespace={NAMESPACE}", "pod", label)["items"][0]
        statuses = pod["status"]["containerStatuses"]
        return {each["name"]: each["restartCount"] for each in statuses}[container]

    def test_kubelet_reports_usage(self):
        self.apply(manifest("claims"))
        self.hold("holder", "files")
        write = "dd if=/dev/zero of=/files/file bs=1M count=100 conv=fsync"
        self.cluster.kubectl("exec", "holder", "--", "sh", "-c", write)
        path = f"/api/v1/nodes/{NODE}/proxy/stats/summary"

        def used():
            summary = json.loads(self.cluster.kubectl("get", f"--raw={path}"))
            for pod in summary["pods"]:
                for volume in pod.get("volume", []):
                    if volume.get("pvcRef", {}).get("name") == "files":
                        return volume["usedBytes"] > 90 * MIB
            return False

        wait_until("usage", used)


def covers(runs, offset):
    return any(start <= offset < start + size for start, size in runs)


class Backups:
    """Programs that ask for the blocks of snapshots, as SnapshotMetadataService says."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.service = cluster.get("snapshotmetadataservice", "csi.ramvol.dev")["spec"]
        name = self.service["address"].split(".")[0]
        # Of the Service, for want of a proxy.
        label = f"--selector=kubernetes.io/service-name={name}"
        found = cluster.get(f"--namespace={NAMESPACE}", "endpointslice", label)
        (slice_,) = found["items"]
        (endpoint,) = slice_["endpoints"]
        self.address = (endpoint["addresses"][0], slice_["ports"][0]["port"])

    def token(self, account, audience=None):
        audience = audience or self.service["audience"]
        words = ("create", "token", account, f"--audience={audience}")
        return self.cluster.kubectl(*words)

    def handle(self, snapshot):
        status = self.cluster.get("volumesnapshot", snapshot)["status"]
        name = status["boundVolumeSnapshotContentName"]
        return self.cluster.get("volumesnapshotcontent", name)["status"][
            "snapshotHandle"
        ]

    def ask(self, token, what):
        """The status of HTTP, which the stand-in speaks, and offsets with sizes."""
        authority = base64.b64decode(self.service["caCert"]).decode()
        context = ssl.create_default_context(cadata=authority)
        host = self.service["address"].rpartition(":")[0]
        with (
            socket.create_connection(self.address, PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            client = http.client.HTTPConnection(host)
            client.sock = connection
            headers = {"Authorization": f"Bearer {token}"}
            client.request("GET", f"/default/{what}", headers=headers)
            response = client.getresponse()
            text = response.read().decode()
            if response.status != 200:
                return response.status, text
            return 200, [(run["Offset"], run["Size"]) for run in json.loads(text)]


def mounted_devices():
    with open("/proc/self/mounts", encoding="utf-8") as file:
        mounts = [line.split() for line in file]
    return {
        mount[0]
        for mount in mounts
        if mount[0].startswith("/dev/loop") and mount[1].startswith("/var/lib/kubelet/")
    }


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubernetes", required=True, help="its programs")
    parser.add_argument("--debian", required=True, help="unpacked packages")
    parser.add_argument("--sidecars", required=True, help="of CSI drivers")
    parser.add_argument("--chart", required=True)
    parser.add_argument("--helm", required=True)
    parser.add_argument("--keep", action="store_true", help="wait at the end")
    parser.add_argument("--bin", required=True, help="what Bazel built")
    parser.add_argument("tests", nargs="*")
    return parser.parse_args()


def make_certificate(folder):
    """Of who serves metadata, as docs/kubernetes.md says."""
    command = "req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=ramvol"
    command += " -keyout tls.key -out tls.crt -addext"
    name = f"subjectAltName=DNS:ramvol-csi-snapshot-metadata.{NAMESPACE}.svc"
    subprocess.run(
        ["openssl", *command.split(), name], check=True, cwd=folder, capture_output=True
    )


def chart_values(folder):
    return (
        f"--values={HERE}/manifests/values.yaml",
        f"--set-file=csi.snapshotMetadata.caCert={folder}/tls.crt",
        f"--namespace={NAMESPACE}",
    )


def prepare(cluster, options):
    """What the cluster has to have before the chart is installed."""
    cluster.kubectl("apply", "-f", f"{options.sidecars}/crds")
    for name in "snapshots", "metadata_service":
        cluster.kubectl("apply", "-f", "-", input=manifest(name))
    cluster.kubectl("create", "namespace", NAMESPACE)
    secret = ("secret", "tls", "ramvol-csi-snapshot-metadata-tls")
    files = (f"--cert={cluster.folder}/tls.crt", f"--key={cluster.folder}/tls.key")
    cluster.kubectl(f"--namespace={NAMESPACE}", "create", *secret, *files)


def rendered(options, folder):
    """What the chart and the tests put into the cluster."""
    chart = subprocess.run(
        [options.helm, "template", "ramvol", options.chart, "--kube-version=1.34.4"]
        + ["--api-versions=snapshot.storage.k8s.io/v1", *chart_values(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert chart.returncode == 0, chart.stderr
    return chart.stdout + manifest("snapshots")


def main():
    options = parse_arguments()
    own_machine.enter()
    folder = tempfile.mkdtemp(prefix="ramvol-cluster.", dir=own_machine.FOLDER)
    began = time.monotonic()
    make_certificate(folder)
    found = rendered(options, folder)
    images = Images(folder, options.bin, options.sidecars).make(found)
    say("images made", time.monotonic() - began)
    cluster = PodTest.cluster = Cluster(folder, options)
    PodTest.command_line = os.path.abspath(f"{options.bin}/client/cli/ramvol")
    PodTest.chart = options.chart
    PodTest.values = chart_values(folder)
    with contextlib.ExitStack() as stack:
        stack.callback(sweep)
        stack.callback(cluster.stop)
        began = time.monotonic()
        cluster.start(images)
        say("cluster ready", time.monotonic() - began)
        prepare(cluster, options)
        for name in options.tests:
            assert hasattr(Test, name) or hasattr(TwoNodes, name), f"no test {name}"
        tests = [
            f"{each.__name__}.{name}"
            for each in (Test, TwoNodes)
            for name in options.tests
            if hasattr(each, name)
        ]
        runner = unittest.TextTestRunner(resultclass=Result)
        result = unittest.main(
            argv=["cluster_test", *tests], testRunner=runner, exit=False
        ).result
        if options.keep:
            print(f"KUBECONFIG={cluster.config}", file=sys.stderr)
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(1 << 20)
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
