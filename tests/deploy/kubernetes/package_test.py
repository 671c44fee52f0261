"""The chart as a whole: the plain manifest, versions, notes, documents.

Arguments: as value_sets.py has them.
"""

import difflib
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import schemas
from chart import Helm, find, parse
from value_sets import DEPLOY, DOCS, EVERYTHING, HELM, NOTHING, PROTO


class PackageTest(unittest.TestCase):
    def test_plain_manifest_is_what_the_chart_renders(self):
        script = DEPLOY / "render.sh"
        done = subprocess.run([script], capture_output=True, text=True, check=True)
        plain = (DEPLOY / "ramvol.yaml").read_text()
        difference = difflib.unified_diff(
            plain.splitlines(),
            done.stdout.splitlines(),
            "ramvol.yaml",
            "the chart",
        )
        self.assertEqual(
            plain,
            done.stdout,
            "make it anew: deploy/kubernetes/render.sh"
            " >deploy/kubernetes/ramvol.yaml\n" + "\n".join(difference),
        )
        kinds = {document["kind"] for document in parse(plain)}
        self.assertIn("StatefulSet", kinds)
        self.assertNotIn("Pod", kinds)

    def test_nothing_looks_for_servers_where_there_are_none(self):
        """The test, and what names their Secret or keeps nodes from being drained."""
        values = {"replicas": 0, "serviceMonitor": {"enabled": True}}
        documents = HELM.render(values)
        kinds = {document["kind"] for document in documents}
        for kind in "Pod", "PodDisruptionBudget", "ServiceMonitor":
            self.assertNotIn(kind, kinds)

    def test_chart_has_the_programs_version(self):
        header = (PROTO.parent / "base" / "version.h").read_text()
        version = re.search(r'kVersion = "(.*)"', header).group(1)
        shown = HELM.run("show", "chart", str(HELM.chart)).stdout
        self.assertEqual(
            re.findall(r"(?m)^(?:appV|v)ersion: (.*)$", shown), [version] * 2
        )

    def test_packaged_chart_renders_the_same(self):
        with tempfile.TemporaryDirectory() as folder:
            done = HELM.run("package", str(HELM.chart), "-d", folder)
            self.assertEqual(done.returncode, 0, done.stderr)
            (archive,) = pathlib.Path(folder).iterdir()
            self.assertEqual(Helm(archive).render(EVERYTHING), HELM.render(EVERYTHING))


def values_of(part, key):
    """Of all fields of this name, at any depth."""
    if isinstance(part, list):
        for each in part:
            yield from values_of(each, key)
    elif isinstance(part, dict):
        for name, value in part.items():
            if name == key:
                yield value
            yield from values_of(value, key)


class DocsTest(unittest.TestCase):
    def setUp(self):
        text = DOCS.read_text()
        blocks = re.findall(r"(?ms)^```yaml\n(.*?)^```$", text)
        commands = re.findall(r"(?ms)<<'YAML'\n(.*?)^YAML$", text)
        self.assertGreaterEqual(len(commands), 2)
        documents = [each for block in blocks + commands for each in parse(block)]
        self.objects = [each for each in documents if "kind" in each]
        self.values = [each for each in documents if "kind" not in each]

    def test_yaml_in_the_docs_is_valid(self):
        valid = schemas.Schemas(schemas.versions()[-1])
        for document in self.objects:
            self.assertEqual(valid.errors(document), [], document)
        for document in self.values:
            HELM.render(document)

    def test_what_pods_ask_for_is_there(self):
        """Classes and images of the page's own values, and the chart's driver."""
        rendered = HELM.render(
            {"csi": {"enabled": True, "snapshots": {"enabled": True}}}
        )
        for kind, key in (
            ("CSIDriver", "driver"),
            ("VolumeSnapshotClass", "volumeSnapshotClassName"),
        ):
            names = {
                each["metadata"]["name"] for each in rendered if each["kind"] == kind
            }
            self.assertEqual(set(values_of(self.objects, key)), names)
        attributes = list(values_of(self.objects, "volumeAttributes"))
        for given, asked in (
            # "" is no class.
            ("storageClasses", {*values_of(self.objects, "storageClassName")} - {""}),
            ("images", {*values_of(attributes, "image")}),
        ):
            lists = values_of(self.values, given)
            names = {each["name"] for found in lists for each in found}
            self.assertTrue(asked)
            self.assertLessEqual(asked, names)


class NotesTest(unittest.TestCase):
    """What `helm install` says, which `helm template` renders but hides."""

    def notes(self, values=None):
        with tempfile.TemporaryDirectory() as folder:
            chart = pathlib.Path(folder) / "ramvol"
            shutil.copytree(HELM.chart, chart)
            notes = chart / "templates" / "NOTES.txt"
            (chart / "templates" / "shown.yaml").write_text(
                '{{- define "notes" }}' + notes.read_text() + "{{- end }}\n"
                "kind: Notes\n"
                "metadata: {name: notes}\n"
                'text: {{ include "notes" . | quote }}\n'
            )
            return find(Helm(chart).render(values), "Notes", "notes")["text"]

    def test_defaults(self):
        notes = self.notes()
        self.assertIn("ramvol.ramvol:7420", notes)
        self.assertIn("nbds://ramvol.ramvol:10809/VOLUME", notes)
        self.assertIn("ramvol-client=true", notes)
        self.assertIn("`helm upgrade` replaces no pod", notes)
        self.assertNotIn("replicas", notes)

    def test_everything(self):
        notes = self.notes(EVERYTHING)
        self.assertIn("disks-1.ramvol", notes)
        self.assertIn("example.org/uses-disks=true", notes)
        self.assertIn("updateStrategy is RollingUpdate", notes)

    def test_volumes_for_pods(self):
        csi = {
            "enabled": True,
            "storageClasses": [{"name": "fast"}, {"name": "golden"}],
            "images": [{"name": "golden", "url": "https://images.example/golden"}],
        }
        notes = self.notes({"replicas": 0, "csi": csi})
        self.assertIn("StorageClasses fast golden.", notes)
        self.assertIn("rollout status daemonset/ramvol-csi\n", notes)
        self.assertIn("app.kubernetes.io/name=ramvol-image\n", notes)
        self.assertNotIn("ramvol.ramvol:7420", notes)
        both = self.notes({"csi": {"enabled": True}})
        self.assertIn("ramvol.ramvol:7420", both)
        self.assertNotIn("ramvol-image", both)

    def test_alerts_without_metrics(self):
        rules, port = {"prometheusRule": {"enabled": True}}, {"metricsPort": 7422}
        for values, expected in (
            ({"csi": {"enabled": True}}, False),
            ({"csi": {"enabled": True}, **rules}, True),
            ({"csi": {"enabled": True, "driver": port}, **rules}, False),
            (rules, False),
        ):
            self.assertEqual("NO METRICS" in self.notes(values), expected, values)

    def test_nothing(self):
        notes = self.notes(NOTHING)
        self.assertNotIn("nbd://", notes)
        self.assertNotIn("Only pods", notes)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
