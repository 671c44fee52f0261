"""Services and network policies, and what names what.

Arguments: as value_sets.py has them.
"""

import re
import sys
import unittest

from chart import find
from value_sets import HELM, VALUE_SETS


class NetworkTest(unittest.TestCase):
    def test_references_lead_somewhere(self):
        for name, values in VALUE_SETS.items():
            documents = HELM.render(values)
            full = values.get("fullnameOverride", "ramvol")
            spec = find(documents, "StatefulSet", full)["spec"]
            pod = spec["template"]["spec"]
            labels = dict(spec["template"]["metadata"]["labels"])
            # What Kubernetes adds to the first pod.
            labels["statefulset.kubernetes.io/pod-name"] = f"{full}-0"
            ports = {port["name"] for port in pod["containers"][0]["ports"]}

            def selects_pods(selector):
                self.assertLessEqual(selector.items(), labels.items(), name)

            selects_pods(spec["selector"]["matchLabels"])
            headless = find(documents, "Service", spec["serviceName"])
            self.assertEqual(headless["spec"]["clusterIP"], "None")
            find(documents, "ConfigMap", pod["volumes"][0]["configMap"]["name"])
            if values.get("serviceAccount", {}).get("create", True):
                find(documents, "ServiceAccount", pod["serviceAccountName"])
            else:
                self.assertEqual(pod["serviceAccountName"], "default")
            for document in documents:
                self.assertEqual(document["metadata"]["namespace"], "ramvol")
                if document["kind"] == "Service":
                    selector = dict(document["spec"]["selector"])
                    if re.search(r"-\d+$", document["metadata"]["name"]):
                        del selector["statefulset.kubernetes.io/pod-name"]
                    selects_pods(selector)
                    for port in document["spec"]["ports"]:
                        self.assertIn(port["targetPort"], ports)
                if document["kind"] == "PodDisruptionBudget":
                    selects_pods(document["spec"]["selector"]["matchLabels"])
                if document["kind"] == "NetworkPolicy":
                    selects_pods(document["spec"]["podSelector"]["matchLabels"])
                    for rule in document["spec"]["ingress"]:
                        self.assertLessEqual({p["port"] for p in rule["ports"]}, ports)
                if document["kind"] == "Pod":
                    # Or the Services would lead to the test's pod.
                    self.assertNotEqual(
                        document["metadata"]["labels"]["app.kubernetes.io/name"],
                        labels["app.kubernetes.io/name"],
                    )

    def test_no_service_leads_clients_to_several_servers(self):
        for replicas in 0, 1, 3:
            documents = HELM.render({"replicas": replicas})
            led = {
                document["metadata"]["name"]: document["spec"]["selector"].get(
                    "statefulset.kubernetes.io/pod-name"
                )
                for document in documents
                if document["kind"] == "Service"
            }
            # The name of each by DNS: a client that asks it gets all addresses.
            self.assertIsNone(led.pop("ramvol-replicas"))
            # The same replica whatever the number, so that scaling moves no client.
            self.assertEqual(led.pop("ramvol"), "ramvol-0")
            each = [f"ramvol-{i}" for i in range(replicas if replicas > 1 else 0)]
            self.assertEqual(led, {name: name for name in each})

    def test_network_policy(self):
        spec = find(HELM.render(), "NetworkPolicy")["spec"]
        self.assertEqual(spec["policyTypes"], ["Ingress", "Egress"])
        self.assertEqual(spec["egress"], [])
        clients, monitoring = spec["ingress"]
        self.assertEqual(
            clients["from"],
            [{"podSelector": {"matchLabels": {"ramvol-client": "true"}}}],
        )
        self.assertEqual([p["port"] for p in clients["ports"]], ["grpc", "nbd"])
        self.assertEqual([p["port"] for p in monitoring["ports"]], ["metrics"])
        test = find(HELM.render(), "Pod", "ramvol-test")
        self.assertEqual(test["metadata"]["labels"]["ramvol-client"], "true")

    def test_without_monitoring_peers_nobody_reads_metrics(self):
        documents = HELM.render(VALUE_SETS["nobody reads metrics"])
        (clients,) = find(documents, "NetworkPolicy")["spec"]["ingress"]
        self.assertNotIn("metrics", [port["port"] for port in clients["ports"]])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
