"""Renders the chart of deploy/kubernetes."""

import json
import shutil
import subprocess
import tempfile

import yaml


class UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a mapping with two equal keys, of which YAML takes the last."""


def _mapping(loader, node):
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.YAMLError(f"{node.start_mark}: twice: {twice}")
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


UniqueKeyLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse(text):
    """The objects of a manifest."""
    found = yaml.load_all(text, Loader=UniqueKeyLoader)
    return [document for document in found if document]


class Helm:
    """Runs helm on one chart, a folder or an archive."""

    def __init__(self, chart, kube_version="1.27.0"):
        if not shutil.which("helm"):
            raise SystemExit("helm is missing; ./dev deps installs it")
        self.chart = chart
        self._kube_version = kube_version

    def run(self, *args):
        """The finished process, whatever it said."""
        return subprocess.run(["helm", *args], capture_output=True, text=True)

    def template(self, values=None, args=()):
        """`helm template` of release and namespace "ramvol", as it ended."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            if isinstance(values, str):
                file.write(values)
            else:
                json.dump(values or {}, file)
            file.flush()
            return self.run(
                *("template", "ramvol", str(self.chart), "--namespace=ramvol"),
                *("--kube-version", self._kube_version, "--values", file.name),
                *args,
            )

    def render(self, values=None, args=()):
        """The objects; AssertionError, with what helm said, if there are none."""
        done = self.template(values, args)
        assert done.returncode == 0, done.stderr
        return parse(done.stdout)


def find(documents, kind, name="ramvol"):
    """The one object of this kind and name."""
    (found,) = [
        document
        for document in documents
        if (document["kind"], document["metadata"]["name"]) == (kind, name)
    ]
    return found
