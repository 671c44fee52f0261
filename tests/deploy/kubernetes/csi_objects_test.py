"""The objects of the driver for pods: schemas, classes, rights, the plain manifest.

Arguments: as value_sets.py has them.
"""

import subprocess
import sys
import tempfile
import unittest

import yaml

import schemas
from chart import Helm, find, parse
from csi_sets import CSI_EVERYTHING, CSI_SETS, SNAPSHOTS, driver_of, metadata_of
from value_sets import DEPLOY, HELM, VALUE_SETS

CSI = ("--show-only=templates/csi/*",)
PROFILE = "security.openshift.io/csi-ephemeral-volume-profile"


class SchemaTest(unittest.TestCase):
    def test_objects_are_valid(self):
        for version in schemas.versions():
            valid = schemas.Schemas(version)
            for name, values in CSI_SETS.items():
                for document in Helm(HELM.chart, version).render(values, CSI):
                    # Of which csi_pods_test.py looks at each field.
                    if document["kind"] == "SnapshotMetadataService":
                        continue
                    with self.subTest(version=version, values=name):
                        self.assertEqual(valid.errors(document), [], document)

    def test_lint(self):
        for values in CSI_SETS.values():
            with tempfile.NamedTemporaryFile("w") as file:
                yaml.safe_dump(values, file)
                done = HELM.run("lint", "--strict", str(HELM.chart), "-f", file.name)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_kinds(self):
        kinds = sorted(d["kind"] for d in HELM.render(CSI_EVERYTHING, CSI))
        self.assertEqual(
            kinds,
            "CSIDriver ClusterRole ClusterRole ClusterRole ClusterRoleBinding"
            " ClusterRoleBinding ClusterRoleBinding DaemonSet DaemonSet NetworkPolicy"
            " Role RoleBinding Service Service ServiceAccount ServiceMonitor"
            " ServiceMonitor StorageClass StorageClass VolumeSnapshotClass".split(),
        )

    def test_off_by_default(self):
        for values in VALUE_SETS.values():
            for document in HELM.render(values):
                # The rules are the same for all programs.
                if document["kind"] != "PrometheusRule":
                    self.assertNotIn("csi", str(document).lower())

    def test_plain_manifest_is_what_the_chart_renders(self):
        script = DEPLOY / "render.sh"
        done = subprocess.run(
            [script, "csi"], capture_output=True, text=True, check=True
        )
        plain = (DEPLOY / "ramvol-csi.yaml").read_text()
        self.assertEqual(
            plain,
            done.stdout,
            "make it anew: deploy/kubernetes/render.sh csi"
            " >deploy/kubernetes/ramvol-csi.yaml",
        )
        self.assertEqual(parse(plain), HELM.render(CSI_SETS["defaults"], CSI))


class ObjectsTest(unittest.TestCase):
    def test_driver(self):
        for values in CSI_SETS.values():
            documents = HELM.render(values)
            found = find(documents, "CSIDriver", "csi.ramvol.dev")
            self.assertEqual(found["metadata"]["labels"][PROFILE], "restricted")
            self.assertEqual(
                found["spec"],
                {
                    "attachRequired": False,
                    "podInfoOnMount": True,
                    "fsGroupPolicy": "File",
                    "volumeLifecycleModes": ["Persistent", "Ephemeral"],
                    "storageCapacity": True,
                },
            )

    def test_no_inline_volumes(self):
        documents = HELM.render({"csi": {"enabled": True, "inline": False}})
        found = find(documents, "CSIDriver", "csi.ramvol.dev")
        self.assertEqual(found["spec"]["volumeLifecycleModes"], ["Persistent"])
        self.assertNotIn(PROFILE, found["metadata"]["labels"])

    def test_one_class_by_default(self):
        documents = HELM.render(CSI_SETS["defaults"])
        (found,) = [d for d in documents if d["kind"] == "StorageClass"]
        self.assertEqual(found["metadata"]["name"], "ramvol")
        self.assertNotIn("annotations", found["metadata"])
        self.assertEqual(found["provisioner"], "csi.ramvol.dev")
        self.assertEqual(found["volumeBindingMode"], "WaitForFirstConsumer")
        self.assertIs(found["allowVolumeExpansion"], True)
        self.assertEqual(found["reclaimPolicy"], "Delete")
        self.assertEqual(found["parameters"], {"class": "ramvol"})

    def test_classes(self):
        documents = HELM.render(CSI_EVERYTHING)
        scratch = find(documents, "StorageClass", "scratch")
        self.assertEqual(
            scratch["metadata"]["annotations"],
            {"storageclass.kubernetes.io/is-default-class": "true"},
        )
        self.assertEqual(scratch["parameters"], {"class": "scratch", "zstdLevel": "3"})
        golden = find(documents, "StorageClass", "golden")
        self.assertEqual(
            golden["parameters"],
            {"class": "golden", "image": "@golden", "memoryLimit": "25%"},
        )
        self.assertEqual(golden["reclaimPolicy"], "Retain")
        self.assertIs(golden["allowVolumeExpansion"], False)
        self.assertEqual(golden["volumeBindingMode"], "Immediate")
        self.assertEqual(golden["mountOptions"], ["noatime"])

    def test_snapshots_come_with_their_objects(self):
        """As the cluster has them, unless the values say yes or no."""
        for enabled, has, expected in (
            ("auto", False, False),
            ("auto", True, True),
            (True, False, True),
            (False, True, False),
        ):
            values = {"csi": {"enabled": True, "snapshots": {"enabled": enabled}}}
            documents = HELM.render(values, [SNAPSHOTS] if has else [])
            with self.subTest(enabled=enabled, has=has):
                kinds = {d["kind"] for d in documents}
                self.assertEqual("VolumeSnapshotClass" in kinds, expected)
                _, sidecars, _ = driver_of(documents)
                self.assertEqual("csi-snapshotter" in sidecars, expected)
                rights = str([d for d in documents if d["kind"] == "ClusterRole"])
                self.assertEqual("volumesnapshot" in rights, expected)

    def test_snapshot_class(self):
        documents = HELM.render(CSI_EVERYTHING)
        found = find(documents, "VolumeSnapshotClass", "frozen")
        self.assertEqual(found["driver"], "csi.ramvol.dev")
        self.assertEqual(found["deletionPolicy"], "Retain")

    def test_groups(self):
        """One snapshotter, which sees groups of no node, with the rights that they need."""
        documents = HELM.render(CSI_SETS["one node"])
        found = find(documents, "VolumeGroupSnapshotClass", "ramvol")
        self.assertEqual(found["driver"], "csi.ramvol.dev")
        self.assertEqual(found["deletionPolicy"], "Delete")
        _, sidecars, pod = driver_of(documents)
        self.assertEqual(
            sidecars["csi-snapshotter"]["args"][1:],
            ["--feature-gates=CSIVolumeGroupSnapshot=true"],
        )
        self.assertEqual(pod["nodeSelector"]["kubernetes.io/hostname"], "node-1")

    def test_no_groups_by_default(self):
        documents = HELM.render(CSI_EVERYTHING)
        _, sidecars, _ = driver_of(documents)
        self.assertEqual(
            sidecars["csi-snapshotter"]["args"][1:],
            ["--node-deployment", "--feature-gates=CSIVolumeGroupSnapshot=false"],
        )
        self.assertNotIn("groupsnapshot.storage", str(documents))

    def test_prometheus_finds_both(self):
        documents = HELM.render(CSI_EVERYTHING)
        for name in "disks-csi-server", "disks-csi":
            monitor = find(documents, "ServiceMonitor", name)["spec"]
            service = find(documents, "Service", name)
            wanted = monitor["selector"]["matchLabels"].items()
            labels = service["metadata"]["labels"]
            self.assertLessEqual(wanted, labels.items())
            # The rules look for a job with this in its name.
            self.assertIn("ramvol", labels[monitor["jobLabel"]])
            pod = find(documents, "DaemonSet", name)["spec"]["template"]
            self.assertLessEqual(
                service["spec"]["selector"].items(), pod["metadata"]["labels"].items()
            )
            ports = {p["name"] for p in pod["spec"]["containers"][0]["ports"]}
            self.assertEqual(ports, {"metrics"})


class RightsTest(unittest.TestCase):
    def rules(self, name, values=CSI_EVERYTHING):
        """{(group, resource): verbs}"""
        objects = values.get("fullnameOverride", "ramvol")
        role = find(HELM.render(values), "ClusterRole", f"{objects}-csi-{name}")
        return {
            (group, resource): set(rule["verbs"])
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        }

    def test_bindings_lead_to_the_pods_account(self):
        for name, values in ("disks", CSI_EVERYTHING), ("ramvol", CSI_SETS["one node"]):
            self.check_bindings(HELM.render(values), f"{name}-csi")

    def check_bindings(self, documents, name):
        find(documents, "ServiceAccount", name)
        _, _, pod = driver_of(documents)
        self.assertEqual(pod["serviceAccountName"], name)
        metadata = f"{name}-snapshot-metadata"
        for _, pod in metadata_of(documents):
            find(documents, "ServiceAccount", metadata)
            self.assertEqual(pod["serviceAccountName"], metadata)
        bound = set()
        for document in documents:
            if not document["kind"].endswith("RoleBinding"):
                continue
            reference = document["roleRef"]
            find(documents, reference["kind"], reference["name"])
            bound.add((reference["kind"], reference["name"]))
            (subject,) = document["subjects"]
            account = metadata if reference["name"] == metadata else name
            self.assertEqual(subject["name"], account)
            self.assertEqual(subject["namespace"], "ramvol")
        roles = {
            (d["kind"], d["metadata"]["name"])
            for d in documents
            if d["kind"] in ("Role", "ClusterRole")
        }
        self.assertEqual(bound, roles)

    def test_nobody_may_do_everything(self):
        for values in CSI_SETS.values():
            for document in HELM.render(values):
                if document["kind"] not in ("Role", "ClusterRole"):
                    continue
                for rule in document["rules"]:
                    self.assertNotIn("*", str(rule))
                    self.assertNotIn("secrets", rule["resources"])
                    self.assertNotIn("deletecollection", rule["verbs"])

    def test_only_the_provisioner_makes_volumes(self):
        volumes = ("", "persistentvolumes")
        provisioner, resizer = self.rules("provisioner"), self.rules("resizer")
        self.assertLessEqual({"create", "delete"}, provisioner[volumes])
        self.assertEqual(resizer[volumes] & {"create", "delete"}, set())
        self.assertNotIn(volumes, self.rules("snapshotter"))
        for rules in provisioner, resizer:
            verbs = rules["", "persistentvolumeclaims"]
            self.assertEqual(verbs & {"create", "delete"}, set())

    def test_the_snapshotter_makes_no_groups(self):
        """It reads and marks those that the snapshot-controller makes."""
        group = "groupsnapshot.storage.k8s.io"
        rules = self.rules("snapshotter", CSI_SETS["one node"])
        found = {key[1]: verbs for key, verbs in rules.items() if key[0] == group}
        read, write = {"get", "list", "watch"}, {"update", "patch"}
        self.assertEqual(
            found,
            {
                "volumegroupsnapshotclasses": read,
                "volumegroupsnapshotcontents": read | write,
                "volumegroupsnapshotcontents/status": write,
            },
        )

    def test_who_serves_metadata_changes_nothing(self):
        """It asks for reviews, which are made, and reads snapshots."""
        rules = self.rules("snapshot-metadata", CSI_SETS["one node"])
        for (group, _), verbs in rules.items():
            reviews = ("authentication.k8s.io", "authorization.k8s.io")
            read = {"create"} if group in reviews else {"get", "list"}
            self.assertEqual(verbs, read)
        self.assertEqual(
            {resource for _, resource in rules},
            {
                "tokenreviews",
                "subjectaccessreviews",
                "volumesnapshots",
                "volumesnapshotcontents",
                "volumesnapshotclasses",
            },
        )

    def test_ramvold_has_no_rights(self):
        for values in CSI_SETS.values():
            name = values.get("fullnameOverride", "ramvol")
            server = find(HELM.render(values), "DaemonSet", f"{name}-csi-server")
            pod = server["spec"]["template"]["spec"]
            self.assertIs(pod["automountServiceAccountToken"], False)
            self.assertNotIn("serviceAccountName", pod)


class RefusalTest(unittest.TestCase):
    def test_bad_values(self):
        for csi, word in (
            ({"enable": True}, "enable"),
            ({"storageClasses": [{"parameters": {}}]}, "name"),
            ({"storageClasses": [{"name": "A"}]}, "name"),
            ({"storageClasses": [{"name": "a", "default": "yes"}]}, "default"),
            ({"snapshots": {"enabled": "maybe"}}, "enabled"),
            ({"snapshots": {"groups": "auto"}}, "groups"),
            ({"snapshots": {"enabled": True, "groups": True}}, "one node"),
            (
                {
                    "snapshots": {"groups": True},
                    "nodeSelector": {"kubernetes.io/hostname": "node-1"},
                },
                "needs snapshots",
            ),
            ({"snapshotMetadata": {"enabled": True}}, "one node"),
            (
                {
                    "snapshotMetadata": {"enabled": True},
                    "snapshots": {"enabled": True},
                    "nodeSelector": {"kubernetes.io/hostname": "node-1"},
                },
                "caCert",
            ),
            ({"snapshotMetadata": {"caCert": "ca.crt"}}, "caCert"),
            ({"server": {"memory": "4GB"}}, "memory"),
            ({"server": {"stateDir": "dev/shm"}}, "stateDir"),
            ({"driver": {"attach": "ublk"}}, "attach"),
            ({"driver": {"overcommit": 0}}, "overcommit"),
            ({"driver": {"trimInterval": "30"}}, "trimInterval"),
            ({"driver": {"metricsPort": 70000}}, "metricsPort"),
            ({"driver": {"healthPort": 0}}, "healthPort"),
            ({"sidecars": {"attacher": {}}}, "attacher"),
            ({"sidecars": {"resizer": {"extraArgs": ["v=5"]}}}, "extraArgs"),
            ({"kubeletDir": "/var/lib/kubelet/"}, "kubeletDir"),
            ({"inline": "true"}, "inline"),
        ):
            with self.subTest(csi=csi):
                done = HELM.template({"csi": {"enabled": True, **csi}})
                self.assertNotEqual(done.returncode, 0, "it was taken")
                self.assertIn(word, done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
