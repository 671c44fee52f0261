"""What prometheus-operator gets.

Arguments: as value_sets.py has them.
"""

import sys
import unittest

from chart import find, parse
from value_sets import DEPLOY, EVERYTHING, HELM


class MonitoringTest(unittest.TestCase):
    def test_service_monitor_selects_one_service(self):
        documents = HELM.render(EVERYTHING)
        spec = find(documents, "ServiceMonitor", "disks")["spec"]
        wanted = spec["selector"]["matchLabels"].items()
        (service,) = [
            document
            for document in documents
            if document["kind"] == "Service"
            and wanted <= document["metadata"]["labels"].items()
        ]
        ports = {port["name"] for port in service["spec"]["ports"]}
        self.assertEqual({e["port"] for e in spec["endpoints"]} - ports, set())
        # The rules look for a job with this in its name.
        self.assertEqual(service["metadata"]["labels"][spec["jobLabel"]], "ramvol")

    def test_rules_are_those_of_prometheus(self):
        (rules,) = parse((DEPLOY / "ramvol/files/ramvol.rules.yml").read_text())
        rule = find(HELM.render(EVERYTHING), "PrometheusRule", "disks")
        self.assertEqual(rule["spec"], rules)
        alerts = {r.get("alert") for group in rules["groups"] for r in group["rules"]}
        self.assertIn("RamvolDown", alerts)

    def test_runbooks_are_links(self):
        url = "https://git.example/ramvol/blob/v0.1.0/docs/alerts.md"
        rule = find(
            HELM.render({"prometheusRule": {"enabled": True, "runbookURL": url}}),
            "PrometheusRule",
        )
        rules = [r for group in rule["spec"]["groups"] for r in group["rules"]]
        alerts = [r for r in rules if "alert" in r]
        self.assertGreater(len(alerts), 10)
        for alert in alerts:
            anchor = alert["alert"].lower()
            self.assertEqual(alert["annotations"]["runbook_url"], f"{url}#{anchor}")
            self.assertNotIn("runbook", alert["annotations"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
