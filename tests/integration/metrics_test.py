#!/usr/bin/python3
"""What /metrics of ramvold and ramvol-nbd export, against docs/metrics.md and
promtool. Arguments: the paths of ramvold, ramvol, ramvol-nbd and metrics.md."""

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

RAMVOLD, CLI, BRIDGE, PAGE = (os.path.realpath(path) for path in sys.argv[1:])
PATIENCE = 120  # Seconds; for a busy machine, not what is normal.
SAMPLE = re.compile(r"^(\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? \S+$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Program:
    """A server that prints a ready line; stopped at the end."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.ready = self.process.stdout.readline()
        self.metrics_url = self.address("metrics")

    def address(self, what):
        found = re.search(r"[:;] " + what + r" ([^,;\s]+)", self.ready)
        assert found, f"no {what} in {self.ready!r}"
        return found.group(1)

    def get(self, path="/metrics"):
        url = self.metrics_url.removesuffix("/metrics") + path
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.read().decode()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def documented():
    """The page's series, as {program: {name: (type, labels)}}, and the values of
    labels."""
    series = {"ramvold": {}, "ramvol-nbd": {}}
    values = {}
    programs = []
    with open(PAGE, encoding="utf-8") as page:
        for line in page:
            if line.startswith("## "):
                heading = line[3:].split(":")[0].strip()
                programs = (
                    list(series)
                    if heading == "Both programs"
                    else [heading]
                    if heading in series
                    else []
                )
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if not line.startswith("| `"):
                continue
            names = re.findall(r"`([^`]+)`", cells[0])
            assert len(names) == 1, line
            if len(cells) == 2:
                values[names[0]] = set(re.findall(r"`([^`]+)`", cells[1]))
                continue
            assert programs and len(cells) == 5, line
            labels = frozenset(re.findall(r"`([^`]+)`", cells[2]))
            for program in programs:
                assert names[0] not in series[program], f"{names[0]} is listed twice"
                series[program][names[0]] = (cells[1], labels)
    return series, values


def exported(text):
    """The same from a scrape: {name: (type, labels)}, {label: values}."""
    types, series, values = {}, {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            assert name not in types, f"{name} comes twice"
            types[name] = kind
        if line.startswith("#"):
            continue
        full = re.split(r"[ {]", line, maxsplit=1)[0]
        name = full if full in types else SAMPLE.match(line).group(1)
        labels = dict(LABEL.findall(line))
        if types[name] == "histogram":
            labels.pop("le", None)
        for label, value in labels.items():
            values.setdefault(label, set()).add(value)
        before = series.setdefault(name, (types[name], frozenset(labels)))
        assert before == (types[name], frozenset(labels)), line
    for name in types:
        assert name in series, f"{name} has no series: make it occur in this test"
    return series, values


def difference(page, program):
    lines = []
    for name in sorted(page.keys() | program.keys()):
        if page.get(name) != program.get(name):
            lines.append(
                f"  {name}: the page says {page.get(name)}, "
                f"the program {program.get(name)}"
            )
    return "\n".join(lines)


def check(name, text, page, label_values):
    series, values = exported(text)
    wrong = difference(page, series)
    assert not wrong, f"docs/metrics.md and {name} differ:\n{wrong}"
    for label in values.keys() & label_values.keys():
        unknown = values[label] - label_values[label]
        assert not unknown, f"{name}: {label} has undocumented values {unknown}"
    linted = subprocess.run(
        ["promtool", "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0 and not linted.stdout + linted.stderr, (
        f"promtool about {name}: {linted.stdout}{linted.stderr}"
    )
    print(f"{name}: {len(series)} series as documented, promtool is silent")
    return values


def run(*command, fails=False):
    done = subprocess.run(
        command, input="content", capture_output=True, text=True, check=False
    )
    assert (done.returncode != 0) == fails, f"{command}: {done.stderr}"


def in_the_end(is_right):
    """What is counted may be so a little after its answer."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return is_right()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def use(server, uri, uri_of_bridge):
    """Makes operations and errors occur."""
    cli = (CLI, "--server=" + server)
    run(*cli, "create", "disk", "1M")
    run(*cli, "create", "full", "1M", "--memory-limit=1")
    run(*cli, "write", "full", "0", fails=True)
    run(*cli, "show", "nobody", fails=True)
    run(*cli, "snapshot", "create", "disk", "monday")
    run("nbdinfo", "--map", uri)
    run("nbdinfo", "--map", uri_of_bridge)


def check_labels():
    """Labels of volumes are on their series, as they are at the scrape."""
    flags = ("--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0")
    chosen = "--metrics_labels=team,cost.center"
    with Program(RAMVOLD, *flags, "--memory_limit=64M", chosen) as server:
        cli = (CLI, "--server=" + server.address("grpc"))
        run(*cli, "create", "disk", "1M", "--label=team=ci", "--label=env=test")
        run(*cli, "create", "full", "1M", "--memory-limit=1", "--label=team=ci")
        run(*cli, "write", "full", "0", fails=True)
        run(*cli, "snapshot", "create", "disk", "monday")
        for team in ("ci", 'q"a'):
            run(*cli, "set", "disk", "--label=team=" + team)
            series, values = exported(server.get())
            for name, (_, labels) in series.items():
                own = {"label_team", "label_cost_center"} & labels
                of_one = {"volume", "snapshot"} & labels
                assert len(own) == (2 if of_one else 0), (name, labels)
            said = values["label_team"], values["label_cost_center"]
            # The snapshot has no labels.
            assert said == ({"", "ci", team.replace('"', '\\"')}, {""}), said
    refused = subprocess.run(
        [RAMVOLD, "--metrics_labels=Team"], capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0 and '--metrics_labels: "Team"' in refused.stderr


def main():
    check_labels()
    series, label_values = documented()
    directory = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
    os.chdir(directory)
    with open("policy", "w", encoding="utf-8") as policy:
        policy.write('grants { identities: "anonymous" role: ROLE_ADMIN }\n')
        policy.write('limits { identities: "anonymous" limits { iops_total: 9999 } }')
    with Program(
        RAMVOLD,
        "--auth_policy=policy",
        "--listen=127.0.0.1:0",
        "--metrics_listen=127.0.0.1:0",
        "--nbd_listen=127.0.0.1:0",
        "--memory_limit=64M",
    ) as server:
        grpc = server.address("grpc")
        with Program(
            BRIDGE,
            "--server=" + grpc,
            "--listen=127.0.0.1:0",
            "--metrics_listen=127.0.0.1:0",
        ) as bridge:
            use(
                grpc,
                f"nbd://{server.address('nbd')}/disk",
                f"nbd://{bridge.address('nbd')}/disk",
            )

            def ramvold_is_right():
                values = check("ramvold", server.get(), series["ramvold"], label_values)
                # Those that are there from the beginning are there with all their values.
                for label in (
                    "op",
                    "direction",
                    "kind",
                    "state",
                    "span",
                    "command",
                    "grpc_type",
                    "grpc_service",
                ):
                    assert values[label] == label_values[label], (label, values[label])
                assert values["reason"] == {"VOLUME_MEMORY_LIMIT"}, values["reason"]
                # Who leaves before its stream has ended cancels that.
                codes = values["grpc_code"] - {"Canceled"}
                assert codes == {"OK", "NotFound"}, values["grpc_code"]

            in_the_end(ramvold_is_right)
            in_the_end(
                lambda: check(
                    "ramvol-nbd", bridge.get(), series["ramvol-nbd"], label_values
                )
            )
            for program in (server, bridge):
                assert program.get("/healthz") == program.get("/readyz") == "ok\n"


if __name__ == "__main__":
    main()
