"""Every query of the dashboards and the rules, as Grafana and Prometheus ask them."""

import glob
import json
import os
import re
from dataclasses import dataclass, field

import yaml


@dataclass
class Query:
    where: str  # Dashboard and panel, or rule.
    text: str  # PromQL without variables.
    legend: str = ""
    instant: bool = False
    panel: int = 0  # The panel's id; 0: no panel's.
    labels: dict = field(default_factory=dict)


class Dashboard:
    def __init__(self, path):
        self.name = os.path.splitext(os.path.basename(path))[0]
        with open(path) as file:
            self.json = json.load(file)

    def panels(self):
        return [panel for panel in self.json["panels"] if panel["type"] != "row"]

    def variables(self):
        """(name, PromQL selector, label) of those that ask Prometheus."""
        for variable in self.json["templating"]["list"]:
            if variable["type"] != "query":
                continue
            selector, label = re.fullmatch(
                r"label_values\((.*), *(\w+)\)", variable["query"]["query"]
            ).groups()
            yield variable["name"], selector, label

    def queries(self, values):
        """All of them, with variables replaced by the given values."""
        for panel in self.panels():
            for target in panel["targets"]:
                yield Query(
                    f"{self.name}: {panel['title']}",
                    substitute(target["expr"], values),
                    target["legendFormat"],
                    target["instant"],
                    panel["id"],
                )
        for annotation in self.json["annotations"]["list"]:
            yield Query(
                f"{self.name}: annotation {annotation['name']}",
                substitute(annotation["target"]["expr"], values),
            )


def load_dashboards(folder):
    paths = sorted(glob.glob(os.path.join(folder, "*.json")))
    assert paths, f"no dashboards in {folder}"
    return [Dashboard(path) for path in paths]


def substitute(text, values):
    """Replaces $name and ${name}, the longest names first. None may be left."""
    for name in sorted(values, key=len, reverse=True):
        text = re.sub(rf"\$(?:{name}\b|{{{name}}})", lambda _: values[name], text)
    assert "$" not in text, f"unknown variable in {text}"
    return text


def as_choice(values):
    """Several values of a variable, as Grafana writes them into a matcher."""
    return "(" + "|".join(re.escape(v).replace("\\", "\\\\") for v in values) + ")"


def without_threshold(alert):
    """An alert's expression that yields a number instead of nothing or something:
    each comparison becomes a `bool` one, and what may be absent is counted. Label
    matchers have no spaces around them; ramvol.rules.yml says so."""
    alert = alert.replace("absent(", "count(")
    return re.sub(r"\s(==|!=|<=|>=|<|>)\s", r" \1 bool ", alert)


def rule_queries(path):
    with open(path) as file:
        groups = yaml.safe_load(file)["groups"]
    for rule in [rule for group in groups for rule in group["rules"]]:
        if "record" in rule:
            yield Query(f"rule {rule['record']}", rule["expr"])
            yield Query(f"recorded {rule['record']}", rule["record"])
        else:
            text = without_threshold(rule["expr"])
            assert text != rule["expr"], f"{rule['alert']} compares nothing"
            yield Query(f"alert {rule['alert']}", text)
