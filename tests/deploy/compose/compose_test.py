"""deploy/compose.yaml and the files that it mounts agree with each other, and it
opens nothing to the network.

Argument: the folder deploy.
"""

import os
import re
import sys
import unittest
from urllib.parse import urlsplit

import yaml

DEPLOY = os.path.abspath(sys.argv.pop())


def load(*path):
    with open(os.path.join(DEPLOY, *path)) as file:
        return yaml.safe_load(file)


class Compose(unittest.TestCase):
    services = load("compose.yaml")["services"]

    def mounts(self, service):
        """{path inside: path outside} of what is not a named volume."""
        mounts = {}
        for volume in self.services[service].get("volumes", []):
            outside, inside, *options = volume.split(":")
            if outside.startswith("."):
                self.assertEqual(options, ["ro"], volume)
                mounts[inside] = os.path.join(DEPLOY, outside)
        return mounts

    def listening_ports(self):
        command = " ".join(self.services["ramvold"]["command"])
        return {int(port) for port in re.findall(r"0\.0\.0\.0:(\d+)", command)}

    def test_only_the_loopback_is_published(self):
        for name, service in self.services.items():
            self.assertTrue(service["ports"], name)
            for port in service["ports"]:
                self.assertRegex(port, r"^127\.0\.0\.1:\d+:\d+$", name)

    def test_nobody_may_more_than_needed(self):
        for name, service in self.services.items():
            self.assertIs(service["read_only"], True, name)
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"], name)

    def test_images_of_others_have_a_version(self):
        for name, service in self.services.items():
            if "build" not in service:
                self.assertRegex(service["image"], r":v?\d+\.\d+\.\d+$", name)

    def test_ramvold_publishes_what_it_listens_on(self):
        published = {
            int(port.split(":")[-1]) for port in self.services["ramvold"]["ports"]
        }
        self.assertEqual(published, self.listening_ports())

    def test_ramvold_has_a_limit_and_no_swap(self):
        ramvold = self.services["ramvold"]
        self.assertTrue(ramvold["mem_limit"])
        self.assertEqual(ramvold["memswap_limit"], ramvold["mem_limit"])

    def test_mounted_files_are_there(self):
        for name in self.services:
            for inside, outside in self.mounts(name).items():
                self.assertTrue(os.path.isdir(outside), f"{name}: {inside}")

    def test_prometheus_scrapes_ramvold(self):
        config = load("prometheus", "prometheus.yml")
        (scrape,) = config["scrape_configs"]
        self.assertIn("ramvol", scrape["job_name"])  # RamvolDown wants that.
        host, port = scrape["static_configs"][0]["targets"][0].split(":")
        self.assertIn(host, self.services)
        self.assertIn(int(port), self.listening_ports())

    def test_grafana_asks_prometheus(self):
        (source,) = load("grafana", "provisioning", "datasources", "prometheus.yaml")[
            "datasources"
        ]
        self.assertIn(urlsplit(source["url"]).hostname, self.services)
        interval = load("prometheus", "prometheus.yml")["global"]["scrape_interval"]
        self.assertEqual(source["jsonData"]["timeInterval"], interval)

    def test_grafana_finds_the_dashboards(self):
        mounts = self.mounts("grafana")
        (provider,) = load("grafana", "provisioning", "dashboards", "ramvol.yaml")[
            "providers"
        ]
        folder = provider["options"]["path"]
        self.assertIn("overview.json", os.listdir(mounts[folder]))
        home = self.services["grafana"]["environment"][
            "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"
        ]
        self.assertEqual(home, f"{folder}/overview.json")


if __name__ == "__main__":
    unittest.main()
