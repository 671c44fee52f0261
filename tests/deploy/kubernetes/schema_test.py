"""The objects that the chart renders, against the schemas of Kubernetes.

Arguments: as value_sets.py has them.
"""

import copy
import functools
import sys
import tempfile
import unittest

import schemas
from chart import Helm
from value_sets import EVERYTHING, HELM, NOTHING, VALUE_SETS


class SchemaTest(unittest.TestCase):
    def test_objects_are_valid(self):
        for version in schemas.versions():
            valid = schemas.Schemas(version)
            for name, values in VALUE_SETS.items():
                for document in Helm(HELM.chart, version).render(values):
                    with self.subTest(version=version, values=name):
                        self.assertEqual(valid.errors(document), [], document)

    def test_all_kinds_are_rendered(self):
        kinds = sorted(d["kind"] for d in HELM.render(EVERYTHING))
        self.assertEqual(
            kinds,
            "ConfigMap NetworkPolicy Pod PodDisruptionBudget PrometheusRule Service"
            " Service Service Service Service ServiceAccount ServiceMonitor"
            " StatefulSet".split(),
        )
        kinds = sorted(d["kind"] for d in HELM.render(NOTHING))
        self.assertEqual(kinds, "ConfigMap Pod Service Service StatefulSet".split())

    def test_there_are_several_versions(self):
        self.assertGreaterEqual(len(schemas.versions()), 4)
        self.assertTrue(schemas.versions()[0].startswith("1.27."))

    def test_the_validator_finds_mistakes(self):
        everything = HELM.render(EVERYTHING)

        def wrong(kind, path, value, documents=everything):
            (document,) = copy.deepcopy([d for d in documents if d["kind"] == kind])
            *way, last = path
            functools.reduce(lambda part, key: part[key], way, document)[last] = value
            return document

        pod = ["spec", "template", "spec"]
        mistakes = [
            wrong("StatefulSet", ["spec", "replica"], 3),
            wrong("StatefulSet", ["spec", "replicas"], "3"),
            wrong("StatefulSet", pod + ["containers", 0, "livenesProbe"], {}),
            wrong(
                "StatefulSet",
                pod + ["containers", 0, "livenessProbe", "httpGet"],
                {},
            ),
            wrong(
                "StatefulSet",
                pod + ["containers", 0, "ports", 0],
                {"name": "grpc"},
            ),
            wrong("StatefulSet", pod + ["securityContext", "runAsNonRoot"], "true"),
            wrong("StatefulSet", ["apiVersion"], "apps/v1beta1"),
            wrong("NetworkPolicy", ["spec", "ingress", 0, "form"], []),
            wrong("PodDisruptionBudget", ["spec", "maxUnavailable"], 0.5),
            wrong("ConfigMap", ["data", "number"], 1),
            wrong("ServiceMonitor", ["spec", "endpoint"], []),
            wrong("ServiceMonitor", ["spec", "endpoints", 0, "interval"], "soon"),
            wrong(
                "PrometheusRule",
                ["spec", "groups", 0, "rules", 0],
                {"alert": "A"},
            ),
        ]
        for version in schemas.versions():
            valid = schemas.Schemas(version)
            for document in mistakes:
                self.assertNotEqual(valid.errors(document), [], document)

    def test_lint(self):
        for name, values in VALUE_SETS.items():
            with self.subTest(values=name), tempfile.NamedTemporaryFile("w") as file:
                file.write(
                    repr(values).replace("True", "true").replace("False", "false")
                )
                file.flush()
                done = HELM.run("lint", "--strict", str(HELM.chart), "-f", file.name)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
