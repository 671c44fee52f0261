"""The pods of the chart's StatefulSet: what the schemas do not see.

Arguments: as value_sets.py has them.
"""

import sys
import unittest

from chart import find
from value_sets import EVERYTHING, HELM, VALUE_SETS, containers, pod_specs


class PodsTest(unittest.TestCase):
    def test_pods_are_restricted(self):
        for values in VALUE_SETS.values():
            for pod in pod_specs(HELM.render(values)):
                self.assertIs(pod["automountServiceAccountToken"], False)
                security = pod["securityContext"]
                self.assertIs(security["runAsNonRoot"], True)
                self.assertEqual(security["runAsUser"], 65532)
                self.assertEqual(security["seccompProfile"], {"type": "RuntimeDefault"})
                for container in containers(pod):
                    security = container["securityContext"]
                    self.assertIs(security["allowPrivilegeEscalation"], False)
                    self.assertIs(security["readOnlyRootFilesystem"], True)
                    self.assertEqual(security["capabilities"], {"drop": ["ALL"]})

    def test_requested_memory_is_the_limit(self):
        for values in VALUE_SETS.values():
            for pod in pod_specs(HELM.render(values)):
                for container in containers(pod):
                    resources = container["resources"]
                    self.assertEqual(
                        resources["requests"]["memory"],
                        resources["limits"]["memory"],
                    )

    def test_volumes_live_in_memory_of_the_pod(self):
        pod = find(HELM.render({"resources": {"memory": "64Gi"}}), "StatefulSet")
        pod = pod["spec"]["template"]["spec"]
        (volume,) = [v for v in pod["volumes"] if v["name"] == "state"]
        # No more than the pod may take, and no less than its volumes may.
        self.assertEqual(volume["emptyDir"], {"medium": "Memory", "sizeLimit": "64Gi"})
        (container,) = pod["containers"]
        (mount,) = [m for m in container["volumeMounts"] if m["name"] == "state"]
        self.assertIn(f"--state_dir={mount['mountPath']}/state", container["args"])
        without = find(HELM.render({"state": {"enabled": False}}), "StatefulSet")
        self.assertNotIn("state", str(without["spec"]["template"]["spec"]))

    def test_saves_have_a_claim_and_time(self):
        values = {
            "saves": {
                "enabled": True,
                "size": "8Gi",
                "storageClassName": "fast",
                "timeoutSeconds": 900,
            }
        }
        stateful = find(HELM.render(values), "StatefulSet")["spec"]
        (claim,) = stateful["volumeClaimTemplates"]
        self.assertEqual(
            claim["spec"],
            {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "fast",
                "resources": {"requests": {"storage": "8Gi"}},
            },
        )
        pod = stateful["template"]["spec"]
        (container,) = pod["containers"]
        name = claim["metadata"]["name"]
        (mount,) = [m for m in container["volumeMounts"] if m["name"] == name]
        # Below the mount, which holds lost+found and is not the server's.
        self.assertIn(f"--save_dir={mount['mountPath']}/all", container["args"])
        self.assertEqual(pod["securityContext"]["fsGroup"], 65532)
        self.assertEqual(pod["terminationGracePeriodSeconds"], 10 + 20 + 900)
        probe = container["startupProbe"]
        self.assertEqual(probe["failureThreshold"] * probe["periodSeconds"], 1020)
        without = str(find(HELM.render({}), "StatefulSet"))
        for text in ("save", "fsGroup", "volumeClaimTemplates"):
            self.assertNotIn(text, without)

    def test_a_pod_has_time_to_drain(self):
        pod = find(HELM.render({"drainTimeoutSeconds": 600}), "StatefulSet")
        pod = pod["spec"]["template"]["spec"]
        self.assertIn("--drain_timeout=600s", pod["containers"][0]["args"])
        self.assertEqual(pod["terminationGracePeriodSeconds"], 620)

    def test_no_change_of_volumes_changes_the_pods(self):
        some = HELM.render({"volumes": [{"name": "a", "size": 1}]})
        none = HELM.render()
        self.assertNotEqual(find(some, "ConfigMap"), find(none, "ConfigMap"))
        self.assertEqual(find(some, "StatefulSet"), find(none, "StatefulSet"))

    def test_nothing_replaces_pods_unasked(self):
        documents = HELM.render()
        spec = find(documents, "StatefulSet")["spec"]
        self.assertEqual(spec["updateStrategy"], {"type": "OnDelete"})
        self.assertEqual(spec["podManagementPolicy"], "Parallel")
        budget = find(documents, "PodDisruptionBudget")["spec"]
        self.assertEqual(budget["maxUnavailable"], 0)

    def test_probes_speak_what_the_server_does(self):
        """A kubelet's gRPC knows no TLS."""
        paths = {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}
        for values in {}, {"insecure": True}:
            pod = find(HELM.render(values), "StatefulSet")["spec"]["template"]["spec"]
            for name, path in paths.items():
                probe = pod["containers"][0][f"{name}Probe"]
                http = {"scheme": "HTTPS", "port": "metrics", "path": path}
                if values:
                    self.assertEqual(probe["grpc"], {"port": 7420})
                else:
                    self.assertEqual(probe["httpGet"], http)

    def test_extra_environment_and_files(self):
        spec = find(HELM.render(EVERYTHING), "StatefulSet", "disks")["spec"]
        pod = spec["template"]["spec"]
        (container,) = pod["containers"]
        self.assertEqual(container["env"][-1:], EVERYTHING["extraEnv"])
        self.assertEqual(pod["volumes"][4:], EVERYTHING["extraVolumes"])
        self.assertEqual(container["volumeMounts"][4:], EVERYTHING["extraVolumeMounts"])
        self.assertEqual(container["volumeMounts"][0]["mountPath"], "/etc/ramvol")

    def test_labels_of_metrics(self):
        spec = find(HELM.render(EVERYTHING), "StatefulSet", "disks")["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        self.assertIn("--metrics_labels=team,cost.center", container["args"])

    def test_security_is_overridden_key_by_key(self):
        documents = HELM.render(
            {
                "podSecurityContext": {"runAsUser": 1000660000, "runAsGroup": None},
                "containerSecurityContext": {"capabilities": {"add": ["IPC_LOCK"]}},
            }
        )
        for pod in pod_specs(documents):
            self.assertEqual(
                pod["securityContext"],
                {
                    "runAsNonRoot": True,
                    "runAsUser": 1000660000,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            )
            for container in containers(pod):
                self.assertEqual(
                    container["securityContext"],
                    {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"add": ["IPC_LOCK"]},
                    },
                )

    def test_the_default_image_is_no_strangers(self):
        # A name without a registry would be one of Docker Hub's.
        for pod in pod_specs(HELM.render()):
            for container in containers(pod):
                self.assertTrue(container["image"].startswith("localhost/ramvol:"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
