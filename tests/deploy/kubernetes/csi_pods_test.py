"""The pods of the driver for pods: flags, folders that both share, privileges.

Arguments: as value_sets.py has them, then the manual pages of ramvold and ramvol-csi.
"""

import base64
import pathlib
import re
import sys
import unittest

import sidecar_flags
from chart import find
from csi_sets import CERTIFICATE, CSI_EVERYTHING, CSI_SETS, driver_of, metadata_of
from value_sets import DEPLOY, HELM, containers

MANUALS = {path.stem: path for path in map(pathlib.Path, sys.argv[4:6])}


def names_of(args):
    return {re.match(r"--([\w-]+)", arg).group(1) for arg in args}


def own_flags(program):
    """Those that its manual page has, which a test compares with --help."""
    text = MANUALS[program].read_text().replace("\\-", "-")
    return set(re.findall(r"(?m)^\.B --(\w+)$", text))


def value_of(args, flag):
    (found,) = [arg.partition("=")[2] for arg in args if arg.startswith(f"--{flag}=")]
    return found


def server_of(documents, name="ramvol"):
    daemon_set = find(documents, "DaemonSet", f"{name}-csi-server")
    pod = daemon_set["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return container, pod


def on_the_node(pod, container, path):
    """The folder of the node that a path of a container is in, and the rest."""
    mounts = [m for m in container["volumeMounts"] if path.startswith(m["mountPath"])]
    mount = max(mounts, key=lambda m: len(m["mountPath"]))
    (volume,) = [v for v in pod["volumes"] if v["name"] == mount["name"]]
    return volume["hostPath"]["path"] + path[len(mount["mountPath"]) :]


class FlagsTest(unittest.TestCase):
    def test_sidecars_know_their_flags(self):
        for values in CSI_SETS.values():
            documents = HELM.render(values)
            _, sidecars, _ = driver_of(documents)
            self.assertGreaterEqual(len(sidecars), 4)
            metadata = [container for container, _ in metadata_of(documents)]
            for sidecar in [*sidecars.values(), *metadata]:
                known = sidecar_flags.of(sidecar["image"])
                self.assertLessEqual(names_of(sidecar["args"]), known, sidecar["name"])

    def test_programs_know_their_flags(self):
        for values in CSI_SETS.values():
            documents = HELM.render(values)
            driver, _, _ = driver_of(documents)
            server, _ = server_of(documents, values.get("fullnameOverride", "ramvol"))
            for container, program in (driver, "ramvol-csi"), (server, "ramvold"):
                known = own_flags(program)
                self.assertGreater(len(known), 10)
                self.assertLessEqual(names_of(container["args"]), known)

    def test_images_are_pinned(self):
        values = (DEPLOY / "ramvol/values.yaml").read_text()
        images = re.findall(r"(?m)^ +image: (registry\.k8s\.io/.*)$", values)
        self.assertEqual(len(images), 6)
        for image in images:
            self.assertRegex(image, r"^registry\.k8s\.io/sig-storage/[a-z-]+:v[0-9.]+$")

    def test_volumes_are_of_their_node(self):
        _, sidecars, _ = driver_of(HELM.render(CSI_EVERYTHING))
        provisioner = sidecars["csi-provisioner"]
        self.assertLessEqual(
            {
                "--node-deployment",
                "--node-deployment-base-delay=5s",
                "--strict-topology",
                "--immediate-topology=false",
                "--enable-capacity",
                "--capacity-ownerref-level=0",
            },
            set(provisioner["args"]),
        )
        self.assertIn("--node-deployment", sidecars["csi-snapshotter"]["args"])
        paths = {
            e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"]
            for e in provisioner["env"]
        }
        self.assertEqual(
            paths,
            {
                "NODE_NAME": "spec.nodeName",
                "POD_NAME": "metadata.name",
                "NAMESPACE": "metadata.namespace",
            },
        )

    def test_one_resizer_leads(self):
        """Which calls no driver, since growing is the nodes' own."""
        _, sidecars, _ = driver_of(HELM.render(CSI_SETS["defaults"]))
        self.assertIn("--leader-election", sidecars["csi-resizer"]["args"])

    def test_node_id_is_the_nodes_name(self):
        driver, _, _ = driver_of(HELM.render(CSI_SETS["defaults"]))
        (env,) = driver["env"]
        self.assertEqual(value_of(driver["args"], "node_id"), f"$({env['name']})")
        self.assertEqual(env["valueFrom"]["fieldRef"]["fieldPath"], "spec.nodeName")

    def test_values_reach_flags(self):
        documents = HELM.render(CSI_EVERYTHING)
        driver, sidecars, _ = driver_of(documents)
        server, _ = server_of(documents, "disks")
        for arg in (
            "--attach=nbd",
            "--overcommit=1.5",
            "--trim_interval=0",
            "--metrics_listen=0.0.0.0:7422",
            "--log_format=json",
        ):
            self.assertIn(arg, driver["args"])
        self.assertEqual(server["args"][-1], "--hot_cache=1G")
        self.assertIn("--metrics_labels=team", server["args"])
        self.assertEqual(sidecars["csi-provisioner"]["args"][-1], "--v=5")
        self.assertEqual(
            driver["image"], "registry.example/ramvol-csi@sha256:" + "b" * 64
        )
        default, _, _ = driver_of(HELM.render(CSI_SETS["defaults"]))
        self.assertNotIn("metrics", str(default))


class FoldersTest(unittest.TestCase):
    def test_driver_and_ramvold_share_sockets(self):
        for values in CSI_SETS.values():
            documents = HELM.render(values)
            driver, _, pod = driver_of(documents)
            server, server_pod = server_of(
                documents, values.get("fullnameOverride", "ramvol")
            )
            for client, listen in ("ramvold", "listen"), ("nbd", "nbd_listen"):
                theirs = value_of(server["args"], listen).removeprefix("unix:")
                ours = value_of(driver["args"], client).removeprefix("unix:")
                self.assertEqual(
                    on_the_node(pod, driver, ours),
                    on_the_node(server_pod, server, theirs),
                )

    def test_kubelet_and_sidecars_reach_the_driver(self):
        for values in CSI_SETS.values():
            documents = HELM.render(values)
            driver, sidecars, pod = driver_of(documents)
            endpoint = value_of(driver["args"], "endpoint").removeprefix("unix:")
            socket = on_the_node(pod, driver, endpoint)
            beside = [(sidecar, pod) for sidecar in sidecars.values()]
            for sidecar, its_pod in beside + metadata_of(documents):
                theirs = value_of(sidecar["args"], "csi-address")
                self.assertEqual(on_the_node(its_pod, sidecar, theirs), socket)
            registrar = sidecars["node-driver-registrar"]
            registered = value_of(registrar["args"], "kubelet-registration-path")
            self.assertEqual(registered, socket)
            folder = values["csi"].get("kubeletDir", "/var/lib/kubelet")
            self.assertEqual(
                on_the_node(pod, registrar, "/registration"),
                f"{folder}/plugins_registry",
            )

    def test_mounts_reach_the_node_at_the_same_path(self):
        for values in CSI_SETS.values():
            driver, _, pod = driver_of(HELM.render(values))
            folder = values["csi"].get("kubeletDir", "/var/lib/kubelet")
            (mount,) = [m for m in driver["volumeMounts"] if m["mountPath"] == folder]
            self.assertEqual(mount["mountPropagation"], "Bidirectional")
            state = value_of(driver["args"], "state_dir")
            for path in folder, state:
                self.assertEqual(on_the_node(pod, driver, path), path)
            self.assertEqual(on_the_node(pod, driver, "/dev"), "/dev")

    def test_state_outlives_the_pod(self):
        """In a folder of the node, on a tmpfs by default; and only one pod has it."""
        documents = HELM.render(CSI_SETS["defaults"])
        server, pod = server_of(documents)
        state = value_of(server["args"], "state_dir")
        self.assertTrue(on_the_node(pod, server, state).startswith("/dev/shm/"))
        strategy = find(documents, "DaemonSet", "ramvol-csi-server")["spec"]
        # Without a surge, which would start the next ramvold beside this one.
        self.assertEqual(strategy["updateStrategy"], {"type": "RollingUpdate"})


class SnapshotMetadataTest(unittest.TestCase):
    def setUp(self):
        self.documents = HELM.render(CSI_SETS["one node"])
        ((self.container, self.pod),) = metadata_of(self.documents)

    def test_off_by_default(self):
        for values in {}, CSI_EVERYTHING:
            self.assertEqual(metadata_of(HELM.render(values)), [])

    def test_it_runs_on_the_node_of_the_snapshots(self):
        _, _, driver_pod = driver_of(self.documents)
        selector = self.pod["nodeSelector"]
        self.assertIn("kubernetes.io/hostname", selector)
        self.assertEqual(selector, driver_pod["nodeSelector"])

    def test_it_is_not_in_the_nodes_network(self):
        self.assertNotIn("hostNetwork", self.pod)

    def test_the_service_leads_to_its_port(self):
        name = "ramvol-csi-snapshot-metadata"
        service = find(self.documents, "Service", name)["spec"]
        template = find(self.documents, "Deployment", name)["spec"]["template"]
        self.assertLessEqual(
            service["selector"].items(), template["metadata"]["labels"].items()
        )
        (port,) = service["ports"]
        ports = {p["name"]: p["containerPort"] for p in self.container["ports"]}
        args = self.container["args"]
        self.assertEqual(ports[port["targetPort"]], int(value_of(args, "port")))
        health = self.container["readinessProbe"]["httpGet"]["port"]
        self.assertEqual(value_of(args, "http-endpoint"), f":{ports[health]}")
        announced = find(self.documents, "SnapshotMetadataService", "csi.ramvol.dev")
        self.assertEqual(
            announced["spec"]["address"], f"{name}.ramvol.svc:{port['port']}"
        )

    def test_clients_can_check_it_and_it_them(self):
        announced = find(self.documents, "SnapshotMetadataService", "csi.ramvol.dev")
        self.assertEqual(announced["apiVersion"], "cbt.storage.k8s.io/v1beta1")
        spec = announced["spec"]
        # No module has the schema of these objects.
        self.assertEqual(set(spec), {"address", "audience", "caCert"})
        self.assertEqual(base64.b64decode(spec["caCert"]).decode(), CERTIFICATE)
        self.assertEqual(value_of(self.container["args"], "audience"), spec["audience"])

    def test_certificate(self):
        files = {
            value_of(self.container["args"], flag) for flag in ("tls-cert", "tls-key")
        }
        self.assertEqual(files, {"/tls/tls.crt", "/tls/tls.key"})
        (mount,) = [m for m in self.container["volumeMounts"] if m["name"] == "tls"]
        self.assertEqual(mount["mountPath"], "/tls")
        (volume,) = [v for v in self.pod["volumes"] if v["name"] == "tls"]
        secret = "ramvol-csi-snapshot-metadata-tls"
        self.assertEqual(volume["secret"]["secretName"], secret)


class PrivilegesTest(unittest.TestCase):
    def test_only_the_driver_is_privileged(self):
        for values in CSI_SETS.values():
            for document in HELM.render(values):
                if document["kind"] not in ("DaemonSet", "Deployment"):
                    continue
                for container in containers(document["spec"]["template"]["spec"]):
                    security = container["securityContext"]
                    name = container["name"]
                    self.assertIs(security["readOnlyRootFilesystem"], True)
                    self.assertEqual(
                        security.get("privileged", False), name == "ramvol-csi"
                    )
                    if name == "ramvol-csi":
                        continue
                    self.assertEqual(
                        security["seccompProfile"], {"type": "RuntimeDefault"}
                    )
                    if name == "modules":
                        continue
                    self.assertIs(security["allowPrivilegeEscalation"], False)
                    self.assertEqual(security["capabilities"], {"drop": ["ALL"]})

    def test_modules_are_loaded_by_a_container_that_ends(self):
        _, _, pod = driver_of(HELM.render(CSI_SETS["defaults"]))
        (modules,) = pod["initContainers"]
        self.assertEqual(
            modules["securityContext"]["capabilities"],
            {"drop": ["ALL"], "add": ["SYS_MODULE"]},
        )
        _, _, pod = driver_of(HELM.render(CSI_EVERYTHING))
        self.assertNotIn("initContainers", pod)
        self.assertNotIn("/lib/modules", str(pod))

    def test_the_driver_hears_the_kernel(self):
        """Which tells of nbd devices in the node's own network namespace alone."""
        _, sidecars, pod = driver_of(HELM.render(CSI_SETS["defaults"]))
        self.assertIs(pod["hostNetwork"], True)
        # So nothing may listen where others reach it.
        for sidecar in sidecars.values():
            for arg in sidecar["args"]:
                if "endpoint" in arg:
                    self.assertIn("=127.0.0.1:", arg)

    def test_devices_outlive_the_drivers_container(self):
        """By FUSE, whose processes need the numbers of the node. Nobody else does."""
        for name, values in CSI_SETS.items():
            documents = HELM.render(values)
            driver, _, pod = driver_of(documents)
            by_fuse = value_of(driver["args"], "attach") != "nbd"
            self.assertEqual(pod.get("hostPID", False), by_fuse, name)
            self.assertEqual(str(documents).count("hostPID"), int(by_fuse), name)

    def test_the_probe_asks_the_sidecar(self):
        driver, sidecars, _ = driver_of(HELM.render(CSI_SETS["defaults"]))
        probe = driver["livenessProbe"]["httpGet"]
        self.assertEqual(
            value_of(sidecars["livenessprobe"]["args"], "http-endpoint"),
            f"{probe['host']}:{probe['port']}",
        )

    def test_pods_stay_and_fit(self):
        documents = HELM.render(CSI_SETS["defaults"])
        for name in "ramvol-csi", "ramvol-csi-server":
            pod = find(documents, "DaemonSet", name)["spec"]["template"]["spec"]
            self.assertEqual(pod["priorityClassName"], "system-node-critical")
            self.assertEqual(
                pod["tolerations"], [{"operator": "Exists", "effect": "NoExecute"}]
            )
        server, _ = server_of(documents)
        resources = server["resources"]
        self.assertEqual(resources["requests"]["memory"], resources["limits"]["memory"])

    def test_values_reach_pods(self):
        documents = HELM.render(CSI_EVERYTHING)
        for name in "disks-csi", "disks-csi-server":
            template = find(documents, "DaemonSet", name)["spec"]["template"]
            self.assertEqual(template["spec"]["nodeSelector"]["ram"], "much")
            self.assertEqual(template["spec"]["tolerations"], [{"operator": "Exists"}])
            self.assertEqual(template["metadata"]["annotations"], {"a/b": "c"})
            self.assertEqual(template["metadata"]["labels"]["team"], "storage")
        server, _ = server_of(documents, "disks")
        self.assertEqual(server["securityContext"]["seLinuxOptions"], {"type": "spc_t"})

    def test_pods_keep_to_nodes_that_can_run_them(self):
        """Also where the values choose among those."""
        for values in CSI_SETS.values():
            for document in HELM.render(values):
                if document["kind"] in ("DaemonSet", "Deployment", "StatefulSet"):
                    selector = document["spec"]["template"]["spec"]["nodeSelector"]
                    self.assertEqual(selector["kubernetes.io/os"], "linux")

    def test_no_selector_of_the_statefulset_finds_them(self):
        documents = HELM.render(CSI_SETS["defaults"])
        wanted = find(documents, "StatefulSet")["spec"]["selector"]["matchLabels"]
        for name in "ramvol-csi", "ramvol-csi-server":
            spec = find(documents, "DaemonSet", name)["spec"]
            labels = spec["template"]["metadata"]["labels"]
            self.assertLessEqual(
                spec["selector"]["matchLabels"].items(), labels.items()
            )
            self.assertFalse(wanted.items() <= labels.items())

    def test_nobody_reaches_ramvold_but_prometheus(self):
        documents = HELM.render(CSI_SETS["defaults"])
        policy = find(documents, "NetworkPolicy", "ramvol-csi-server")["spec"]
        pod = find(documents, "DaemonSet", "ramvol-csi-server")["spec"]["template"]
        self.assertEqual(policy["egress"], [])
        (rule,) = policy["ingress"]
        self.assertEqual([p["port"] for p in rule["ports"]], ["metrics"])
        self.assertLessEqual(
            policy["podSelector"]["matchLabels"].items(),
            pod["metadata"]["labels"].items(),
        )
        values = {"csi": {"enabled": True}, "networkPolicy": {"monitoring": []}}
        policy = find(HELM.render(values), "NetworkPolicy", "ramvol-csi-server")
        self.assertEqual(policy["spec"]["ingress"], [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
