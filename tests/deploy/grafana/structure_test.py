"""What can be seen of the dashboards' files without a Grafana: they are what
generate.py writes, complete and consistent.

Argument: the folder deploy/grafana.
"""

import filecmp
import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

GRAFANA = os.path.abspath(sys.argv.pop())
FOLDER = os.path.join(GRAFANA, "dashboards")
# Grafana's own, beside what __data and __url_time_range are in links.
BUILT_IN = {"__interval", "__rate_interval", "__range"}
IN_LINKS = {"__data", "__url_time_range"}


def load(path):
    with open(path) as file:
        return json.load(file)


def strings(value, key=""):
    """All (key, string) in JSON."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from strings(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner, key)


def cells(panel):
    place = panel["gridPos"]
    return {
        (x, y)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    }


class Structure(unittest.TestCase):
    dashboards = {
        os.path.basename(path): load(path) for path in glob.glob(FOLDER + "/*.json")
    }

    def each_panel(self):
        for name, dashboard in self.dashboards.items():
            for panel in dashboard["panels"]:
                if panel["type"] != "row":
                    yield f"{name}: {panel['title']}", panel

    def test_files_are_what_generate_py_writes(self):
        with tempfile.TemporaryDirectory() as fresh:
            generate = os.path.join(GRAFANA, "generate.py")
            subprocess.run([sys.executable, "-B", generate, fresh], check=True)
            self.assertEqual(sorted(os.listdir(fresh)), sorted(os.listdir(FOLDER)))
            for name in os.listdir(fresh):
                same = filecmp.cmp(
                    os.path.join(fresh, name), os.path.join(FOLDER, name), shallow=False
                )
                self.assertTrue(same, f"{name}: run deploy/grafana/generate.py")

    def test_dashboards_have_their_own_uids_and_titles(self):
        for key in ("uid", "title"):
            values = [made[key] for made in self.dashboards.values()]
            self.assertEqual(len(values), 5)
            self.assertEqual(len(set(values)), len(values), values)

    def test_dashboards_find_each_other(self):
        for name, dashboard in self.dashboards.items():
            with self.subTest(dashboard=name):
                (link,) = dashboard["links"]
                self.assertTrue(set(link["tags"]) <= set(dashboard["tags"]))
                self.assertTrue(link["keepTime"] and link["includeVars"])

    def test_links_to_a_dashboard_have_its_uid_and_variables(self):
        known = {made["uid"]: made for made in self.dashboards.values()}
        found = 0
        for name, dashboard in self.dashboards.items():
            for _, url in (one for one in strings(dashboard) if "/d/" in one[1]):
                found += 1
                uid = re.match(r"/d/([\w-]+)\?", url).group(1)
                self.assertIn(uid, known, name)
                variables = {v["name"] for v in known[uid]["templating"]["list"]}
                self.assertEqual(set(re.findall(r"var-(\w+)=", url)), variables)
        self.assertGreater(found, 0)

    def test_panels_have_their_own_ids(self):
        for name, dashboard in self.dashboards.items():
            ids = [panel["id"] for panel in dashboard["panels"]]
            self.assertEqual(len(set(ids)), len(ids), name)

    def test_panels_do_not_overlap_and_fit_the_grid(self):
        for name, dashboard in self.dashboards.items():
            taken = {}
            for panel in dashboard["panels"]:
                for cell in cells(panel):
                    self.assertNotIn(cell, taken, f"{name}: {panel['title']}")
                    self.assertTrue(0 <= cell[0] < 24, f"{name}: {panel['title']}")
                    taken[cell] = panel["title"]

    def test_panels_leave_no_gap_but_at_the_end_of_a_row(self):
        for name, dashboard in self.dashboards.items():
            taken = set().union(*map(cells, dashboard["panels"]))
            for x, y in taken:
                self.assertTrue(x == 0 or (x - 1, y) in taken, f"{name}: {x}, {y}")
            rows = {y for _, y in taken}
            self.assertEqual(rows, set(range(len(rows))), name)

    def test_panels_say_what_they_show(self):
        for where, panel in self.each_panel():
            self.assertTrue(panel["title"], where)
            self.assertRegex(panel["description"], r"^[A-Z].*\.$", where)
            self.assertTrue(panel["fieldConfig"]["defaults"]["unit"], where)

    def test_whatever_asks_does_so_through_the_datasource_variable(self):
        asking = []
        for _, panel in self.each_panel():
            asking += [panel, *panel["targets"]]
        for dashboard in self.dashboards.values():
            asking += dashboard["annotations"]["list"]
            variables = dashboard["templating"]["list"]
            asking += [one for one in variables if one["type"] == "query"]
        for one in asking:
            self.assertEqual(one["datasource"]["uid"], "${datasource}", one)

    def test_targets_of_a_panel_have_their_own_ids(self):
        for where, panel in self.each_panel():
            ids = [target["refId"] for target in panel["targets"]]
            self.assertTrue(ids, where)
            self.assertEqual(len(set(ids)), len(ids), where)

    def test_variables_are_defined_before_they_are_used(self):
        for name, dashboard in self.dashboards.items():
            defined = set()
            for variable in dashboard["templating"]["list"]:
                for _, text in strings(variable):
                    self.assertLessEqual(used_variables(text), defined, name)
                defined.add(variable["name"])
            for key, text in strings(dashboard):
                allowed = defined | (IN_LINKS if key == "url" else BUILT_IN)
                self.assertLessEqual(used_variables(text), allowed, f"{name}: {text}")

    def test_variables_are_all_used(self):
        for name, dashboard in self.dashboards.items():
            used = set().union(
                *(used_variables(text) for _, text in strings(dashboard))
            )
            for variable in dashboard["templating"]["list"]:
                self.assertIn(variable["name"], used, name)

    def test_rates_use_the_interval_that_fits_the_scrapes(self):
        for where, panel in self.each_panel():
            for target in panel["targets"]:
                for window in re.findall(r"rate\([^\[]*\[(.*?)\]", target["expr"]):
                    self.assertEqual(window, "$__rate_interval", where)


def used_variables(text):
    return set(re.findall(r"\$\{?(\w+)", text)) - {"__all"}


if __name__ == "__main__":
    unittest.main()
