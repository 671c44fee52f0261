"""Values that the chart refuses.

Arguments: as value_sets.py has them.
"""

import sys
import unittest

from chart import Helm
from value_sets import HELM


class RefusalTest(unittest.TestCase):
    def refuses(self, values, *words):
        done = HELM.template(values)
        with self.subTest(values=values):
            self.assertNotEqual(done.returncode, 0, "it was taken")
            for word in words:
                self.assertIn(word, done.stderr)

    def test_bad_quantities(self):
        bad = (
            "",
            " ",
            "10GB",
            "10gi",
            "1.5Gi",
            "-1",
            "1e3",
            "0x10",
            "10 Gi",
            "Gi",
            "1_000",
        )
        for size in bad:
            volumes = [{"name": "a", "size": 1}, {"name": "b", "size": size}]
            self.refuses(
                {"volumes": volumes}, "volumes[1].size", f'"{size}" is no size'
            )
        for size in (
            str(2**63),
            "8Ei",
            "9223372036854775808",
            "10E",
            "9" * 30,
            "8388608Ti",
        ):
            self.refuses(
                {"volumes": [{"name": "a", "size": size}]},
                f'"{size}" is more than',
            )
        for size in 0, "0", "0Gi":
            self.refuses({"volumes": [{"name": "a", "size": size}]}, "at least 1 byte")
        for size in 2**53, 2**63 - 1:
            self.refuses(
                {"volumes": [{"name": "a", "size": size}]},
                "write it as a string",
            )
        for size in 1.5, None, True, [], {}:
            self.refuses({"volumes": [{"name": "a", "size": size}]}, "volumes", "size")
        volume = {"name": "a", "size": 1, "memoryLimit": "much"}
        self.refuses(
            {"volumes": [volume]}, "volumes[0].memoryLimit", '"much" is no size'
        )

    def test_bad_volumes(self):
        for name in "", "A", "-a", "a-", "a/b", "a" * 64, 1:
            self.refuses({"volumes": [{"name": name, "size": 1}]}, "volumes", "name")
        self.refuses({"volumes": [{"size": 1}]}, "name")
        self.refuses({"volumes": [{"name": "a"}]}, "size")
        volume = {"name": "a", "size": 1}
        self.refuses(
            {"volumes": [volume, volume]}, "volumes[1].name", 'two volumes "a"'
        )
        self.refuses({"volumes": [dict(volume, sise=1)]}, "sise")
        self.refuses({"volumes": [dict(volume, allocator="zip")]}, "allocator")
        self.refuses({"volumes": [dict(volume, zstdLevel=20)]}, "zstdLevel")
        self.refuses({"volumes": [dict(volume, labels={"A": "b"})]}, "match")
        self.refuses({"volumes": [dict(volume, labels={"a": 1})]}, "labels")

    def test_bad_values(self):
        self.refuses({"replica": 2}, "replica")
        self.refuses({"replicas": -1}, "replicas")
        self.refuses({"replicas": "two"}, "replicas")
        self.refuses({"image": {"tags": "x"}}, "tags")
        self.refuses({"image": {"digest": "sha256:12"}}, "digest")
        self.refuses(
            {"resources": {"limits": {"memory": "1Gi"}}},
            "limits",
        )
        self.refuses({"resources": {"memory": "4GB"}}, "memory")
        self.refuses({"updateStrategy": "Recreate"}, "updateStrategy")
        self.refuses({"networkPolicy": {"clientLabel": True}}, "clientLabel")
        self.refuses({"extraArgs": ["max_volumes=1"]}, "extraArgs")
        self.refuses({"metricsLabels": ["Team"]}, "metricsLabels")
        self.refuses({"metricsLabels": ["team", "team"]}, "metricsLabels")
        self.refuses({"metricsLabels": list("abcdefghi")}, "metricsLabels")
        self.refuses({"nbd": {"port": 1}}, "port")
        self.refuses({"access": {"polcy": ""}}, "polcy")
        self.refuses({"access": {"policy": ["a"]}}, "policy")
        self.refuses({"serviceMonitor": {"tokenSecret": {"key": ""}}}, "key")
        self.refuses({"extraEnv": [{"value": "x"}]}, "name")
        self.refuses({"extraVolumeMounts": [{"name": "x"}]}, "mountPath")
        self.refuses({"prometheusRule": {"runbookURL": "docs"}}, "runbookURL")
        self.refuses({"drainTimeoutSeconds": "10s"}, "drainTimeoutSeconds")

    def test_old_clusters(self):
        done = Helm(HELM.chart, "1.26.15").template()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("kubeVersion: >=1.27", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
