"""A Prometheus of our own on the loopback."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

SCRAPE_SECONDS = 1
PATIENCE = 120  # Seconds; for a busy machine, not what is normal.
_reserved = []


def free_port():
    """It stays bound, so that nobody else gets it. Others may bind it as servers do,
    with SO_REUSEADDR, because nobody listens."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    _reserved.append(holder)
    return holder.getsockname()[1]


class Prometheus:
    """Scrapes the targets, {job: HOST:PORT}, and evaluates the rules, each second.
    The instance label is the job with the usual port, whatever the port is."""

    def __init__(self, folder, rules, targets):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        every = f"{SCRAPE_SECONDS}s"
        config = {
            "global": {"scrape_interval": every, "evaluation_interval": every},
            "rule_files": [os.path.abspath(rules)],
            "scrape_configs": [
                {
                    "job_name": job,
                    "static_configs": [
                        {"targets": [target], "labels": {"instance": f"{job}:7421"}}
                    ],
                }
                for job, target in targets.items()
            ],
        }
        path = os.path.join(folder, "prometheus.yml")
        with open(path, "w") as file:
            json.dump(config, file)  # JSON is YAML, too.
        self.log = os.path.join(folder, "prometheus.log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={path}",
                    f"--storage.tsdb.path={folder}/prometheus",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
            )
        self._await_ready()

    def _await_ready(self):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(self.url + "/-/ready"):
                    return
            except OSError:
                time.sleep(0.05)
        with open(self.log) as log:
            raise AssertionError(f"Prometheus is not ready: {log.read()}")

    def ask(self, path, **parameters):
        """The data of an answer of /api/v1; an error raises."""
        encoded = urllib.parse.urlencode(parameters, doseq=True)
        try:
            with urllib.request.urlopen(
                f"{self.url}/api/v1/{path}?{encoded}", timeout=PATIENCE
            ) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(
                f"{path} {parameters}: {error.read().decode()}"
            ) from error

    def series(self, query, start, end):
        """What the query gives: a list of (labels, [(time, value)])."""
        if query.instant:
            data = self.ask("query", query=query.text, time=end)
            return [
                (one["metric"], [(one["value"][0], float(one["value"][1]))])
                for one in data["result"]
            ]
        data = self.ask(
            "query_range", query=query.text, start=start, end=end, step=SCRAPE_SECONDS
        )
        return [
            (one["metric"], [(at, float(value)) for at, value in one["values"]])
            for one in data["result"]
        ]

    def label_values(self, label, selector):
        return self.ask(f"label/{label}/values", **{"match[]": selector})

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=PATIENCE)
