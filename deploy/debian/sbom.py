"""Prints an SBOM of Debian packages as SPDX 2.3 in JSON.

Usage: sbom.py PACKAGE.deb...

Names each package with its SHA-256; what it loads, in the versions of this
machine, which it was linked with; the sources of others that are compiled into it;
and the compiler and headers that it was built by. Runs where the packages were
built, with their SOURCE_DATE_EPOCH.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time

# In third_party/, compiled into all programs.
VENDORED = {"googleapis": "google/rpc/*.proto", "grpc-health": "health.proto"}
# Their headers, and the code in these, become a part of what is compiled.
BUILT_BY = [
    "bazel-bootstrap g++ libabsl-dev libcli11-dev libgrpc++-dev libnl-genl-3-dev",
    "libprotobuf-dev libssl-dev libxxhash-dev libzstd-dev prometheus-cpp-dev",
    "protobuf-compiler protobuf-compiler-grpc zlib1g-dev",
]


def run(*command):
    return subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout.strip()


def spdx_id(name):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", name.replace("+", "p"))


def package(name, version, **more):
    return {
        "name": name,
        "SPDXID": spdx_id(name),
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        **more,
    }


def installed(name):
    """A package of Debian's as it is on this machine, or None."""
    form = "${db:Status-Status} ${Version} ${Architecture} ${source:Package}\n"
    try:
        line = run("dpkg-query", "-W", "-f", form, name).splitlines()[0]
    except subprocess.CalledProcessError:
        return None
    if not line.startswith("installed "):
        return None
    _, version, architecture, source = line.split()
    purl = f"pkg:deb/debian/{name}@{version}?arch={architecture}"
    return package(
        name,
        version,
        supplier="Organization: Debian",
        sourceInfo=f"built by Debian from the source package {source}",
        externalRefs=[
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": purl.replace("+", "%2B"),
            }
        ],
    )


def ours(path):
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    name, version = (run("dpkg-deb", "-f", path, key) for key in ("Package", "Version"))
    return package(
        name,
        version,
        packageFileName=os.path.basename(path),
        licenseConcluded="Apache-2.0",
        licenseDeclared="Apache-2.0",
        checksums=[{"algorithm": "SHA256", "checksumValue": digest}],
        primaryPackagePurpose="INSTALL",
    )


def loaded(path):
    """Names of the packages that the one in the file depends on."""
    names = re.split(r"[,|]", run("dpkg-deb", "-f", path, "Depends"))
    return [re.sub(r"[\s(:].*", "", name.strip()) for name in names]


def vendored(name, files):
    return package(
        name,
        "as in third_party",
        licenseConcluded="Apache-2.0",
        licenseDeclared="Apache-2.0",
        comment=f"{files}, compiled by protoc",
    )


def relation(left, kind, right):
    return {
        "spdxElementId": left,
        "relationshipType": kind,
        "relatedSpdxElement": right,
    }


class Document:
    def __init__(self):
        self.packages = {}
        self.relationships = []

    def add(self, made):
        return self.packages.setdefault(made["SPDXID"], made)["SPDXID"]

    def relate(self, left, kind, right):
        self.relationships.append(relation(left, kind, right))

    def json(self, name, seed):
        created = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))
        return {
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": name,
            "documentNamespace": f"urn:sha256:{seed}",
            "creationInfo": {
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", created),
                "creators": ["Tool: ramvol-deploy-debian-sbom.py"],
            },
            "packages": list(self.packages.values()),
            "relationships": self.relationships,
        }


def describe(paths):
    document = Document()
    paths = sorted(path for path in paths if "-dbgsym_" not in path)
    described = [document.add(ours(path)) for path in paths]
    for path, ref in zip(paths, described):
        document.relate("SPDXRef-DOCUMENT", "DESCRIBES", ref)
        for dependency in filter(None, map(installed, loaded(path))):
            document.relate(ref, "DEPENDS_ON", document.add(dependency))
        for one in VENDORED.items():
            document.relate(ref, "CONTAINS", document.add(vendored(*one)))
        for tool in filter(None, map(installed, " ".join(BUILT_BY).split())):
            document.relate(document.add(tool), "BUILD_DEPENDENCY_OF", ref)
    digests = "".join(
        document.packages[ref]["checksums"][0]["checksumValue"] for ref in described
    )
    seed = hashlib.sha256(digests.encode()).hexdigest()
    version = document.packages[described[0]]["versionInfo"]
    return document.json(f"ramvol-{version}", seed)


if __name__ == "__main__":
    json.dump(describe(sys.argv[1:]), sys.stdout, indent=2)
    print()
