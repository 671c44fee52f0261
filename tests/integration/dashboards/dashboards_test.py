"""Asks a real Prometheus, which scrapes all programs under load, every query of
the dashboards and every expression of the rules. Each must give data.

--pictures=FOLDER draws the dashboards there; --seconds says how long the load
lasts. The other arguments are paths.
"""

import argparse
import math
import os
import sys
import tempfile
import time

import picture
import queries
from load import Load
from programs import Programs
from prometheus import PATIENCE, SCRAPE_SECONDS, Prometheus

# What the volume's dashboard shows.
VOLUME = "mixed"
# What the load brings about nowhere.
ALWAYS_ZERO = {"overview: Damaged frames", "csi: Dead devices", "csi: Devices"}
# Nothing is mounted here, so the quantiles of no attachment are no numbers.
# csi_node_test sees that they are measured.
NOT_A_NUMBER = {"csi: Attach time"}
# Fires while the load runs.
EXPECTED_ALERTS = {"RamvolVolumeFull", "RamvolWritesFailing"}


def grafana_values(seconds):
    """What Grafana knows of without asking."""
    return {
        "__interval": f"{SCRAPE_SECONDS}s",
        "__rate_interval": f"{4 * SCRAPE_SECONDS}s",
        "__range": f"{int(seconds)}s",
    }


def variable_values(prometheus, dashboard, values):
    """The given values and those of the dashboard's own variables: all values of
    each but the volume."""
    values = dict(values)
    for name, selector, label in dashboard.variables():
        found = prometheus.label_values(label, queries.substitute(selector, values))
        assert found, f"{dashboard.name}: variable {name} has no values"
        print(f"{len(found):4}  {dashboard.name}: variable {name}: {' '.join(found)}")
        if name == "volume":
            assert {VOLUME, "_other"} <= set(found), found
            found = [VOLUME]
        values[name] = queries.as_choice(found)
    return values


class Check:
    """Asks queries and remembers those that gave nothing, or panels' that gave
    nothing but zeroes."""

    def __init__(self, prometheus, start, end):
        self.prometheus, self.start, self.end = prometheus, start, end
        self.empty = []

    def ask(self, query):
        """The query and its series."""
        series = self.prometheus.series(query, self.start, self.end)
        values = [value for _, points in series for _, value in points]
        most = max(
            (value for value in values if not math.isnan(value)), default=math.nan
        )
        print(f"{len(series):4}  {most:10.4g}  {query.where}: {query.text}")
        quiet = not query.panel or query.where in ALWAYS_ZERO
        if query.where in NOT_A_NUMBER:
            missing = not series
        else:
            missing = math.isnan(most) or (most == 0 and not quiet)
        if missing:
            self.empty.append(query)
        return query, series


def check_rules(prometheus):
    """Prometheus found nothing wrong with any, and what should fire does so, with
    its words filled in."""
    for group in prometheus.ask("rules")["groups"]:
        for rule in group["rules"]:
            assert rule["health"] == "ok", rule
    alerts = prometheus.ask("alerts")["alerts"]
    for alert in alerts:
        print(alert["state"], alert["labels"]["alertname"], alert["annotations"])
        assert "<" not in str(alert["annotations"]), alert
    firing = {
        alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"
    }
    assert firing >= EXPECTED_ALERTS, firing


def ask_everything(prometheus, start, end, options):
    check = Check(prometheus, start, end)
    print("series, greatest value, query")
    for query in queries.rule_queries(options.rules):
        check.ask(query)
    for dashboard in queries.load_dashboards(options.dashboards):
        values = variable_values(prometheus, dashboard, grafana_values(end - start))
        results = [check.ask(query) for query in dashboard.queries(values)]
        if options.pictures:
            path = os.path.join(options.pictures, dashboard.name + ".png")
            picture.draw(dashboard, results, path)
    assert not check.empty, "no data: " + "\n".join(
        f"{query.where}: {query.text}" for query in check.empty
    )


def check_in_the_end(prometheus, start, options):
    """On a busy machine, it takes longer until the load has done everything."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            check_rules(prometheus)
            return ask_everything(prometheus, start, time.time(), options)
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(2)


def run(options, folder, sockets):
    programs = Programs(
        folder,
        sockets,
        options.ramvold,
        options.ramvol,
        options.bridge,
        options.csi,
        options.csi_proto,
    )
    try:
        prometheus = Prometheus(
            folder,
            options.rules,
            {
                "ramvold": programs.ramvold_metrics,
                "ramvol-nbd": programs.bridge_metrics,
                "ramvol-csi": programs.csi_metrics,
            },
        )
        try:
            start = time.time()
            load = Load(programs, options.seconds)
            try:
                time.sleep(options.seconds)
                check_in_the_end(prometheus, start, options)
            finally:
                load.stop()
        finally:
            prometheus.stop()
    finally:
        programs.stop()


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("ramvold", "ramvol", "bridge", "csi", "csi_proto"):
        parser.add_argument(f"--{name}", required=True, type=os.path.abspath)
    for name in ("rules", "dashboards"):
        parser.add_argument(f"--{name}", required=True, type=os.path.abspath)
    parser.add_argument("--pictures", type=os.path.abspath)
    parser.add_argument("--seconds", type=float, default=35)
    return parser.parse_args()


def main():
    options = parse_options()
    with tempfile.TemporaryDirectory() as folder:
        # Sockets' paths must be short.
        with tempfile.TemporaryDirectory(prefix="ramvol-", dir="/tmp") as sockets:
            run(options, folder, sockets)
    print("every query gave data")


if __name__ == "__main__":
    sys.exit(main())
