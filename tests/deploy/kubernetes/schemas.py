"""Validates Kubernetes objects against the API's own schemas, without a server."""

import json
import pathlib
import subprocess

import jsonschema
import yaml


def folder():
    """Where `./dev deps` put the schemas."""
    program = "ramvol-kubernetes-schemas"
    try:
        found = subprocess.run([program], capture_output=True, check=True, text=True)
    except FileNotFoundError as error:
        raise SystemExit(f"{program} is missing; ./dev deps installs it") from error
    return pathlib.Path(found.stdout.strip())


def versions():
    """The versions of Kubernetes that there are schemas of, oldest first."""
    found = (path.stem for path in folder().glob("*.json"))
    return sorted(found, key=lambda version: [int(n) for n in version.split(".")])


class Schemas:
    """The objects of one version of Kubernetes, and of prometheus-operator.

    Strict as `kubectl apply --validate=strict` is: an unknown field is an error.
    """

    def __init__(self, version):
        """version: one of versions()."""
        swagger = json.loads((folder() / f"{version}.json").read_text())
        self._definitions = _strict(swagger["definitions"])
        self._kinds = {}
        for name, definition in self._definitions.items():
            for kind in definition.get("x-kubernetes-group-version-kind", []):
                key = _api_version(kind["group"], kind["version"]), kind["kind"]
                self._kinds[key] = {"$ref": f"#/definitions/{name}"}
        for path in (folder() / "crds").glob("*.yaml"):
            self._add_crd(yaml.safe_load(path.read_text())["spec"])

    def _add_crd(self, spec):
        for version in spec["versions"]:
            key = (
                _api_version(spec["group"], version["name"]),
                spec["names"]["kind"],
            )
            self._kinds[key] = _strict(version["schema"]["openAPIV3Schema"])

    def errors(self, document):
        """What is wrong with an object, a line each; empty if nothing is."""
        key = document.get("apiVersion"), document.get("kind")
        if key not in self._kinds:
            return [f"there is no {key[1]} of {key[0]}"]
        schema = dict(self._kinds[key], definitions=self._definitions)
        # Siblings of a $ref would be ignored.
        if "$ref" in schema:
            schema["allOf"] = [{"$ref": schema.pop("$ref")}]
        found = jsonschema.Draft4Validator(schema).iter_errors(document)
        return ["/".join(map(str, e.absolute_path)) + ": " + e.message for e in found]


def _api_version(group, version):
    return f"{group}/{version}" if group else version


def _strict(schema):
    """Refuses fields that a schema does not name, and takes its int-or-string."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: _strict(value) for key, value in schema.items()}
    if schema.get("format") == "int-or-string":
        schema["type"] = ["integer", "string"]
    if (
        isinstance(schema.get("properties"), dict)
        and schema.get("type", "object") == "object"
        and not schema.get("x-kubernetes-preserve-unknown-fields")
    ):
        schema.setdefault("additionalProperties", False)
    return schema
