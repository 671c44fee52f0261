"""An SBOM names the packages beside it with their bytes, and what they load.

Arguments: the SBOM and the packages.
"""

import hashlib
import json
import subprocess
import sys
import tempfile

with open(sys.argv[1]) as file:
    SBOM = json.load(file)
PACKAGES = {package["SPDXID"]: package for package in SBOM["packages"]}


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def owner(library):
    """The Debian package that has a shared library."""
    found = subprocess.run(["dpkg", "-S", library], capture_output=True, text=True)
    return {line.split(":")[0] for line in found.stdout.splitlines()}


def libraries(deb):
    """The names of the shared libraries that the package's programs ask for."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", deb, folder], check=True)
        read = subprocess.run(
            f"readelf -d {folder}/usr/bin/* 2>/dev/null || :",
            shell=True,
            check=True,
            capture_output=True,
            text=True,
        )
    return {
        line.split("[")[1].rstrip("]")
        for line in read.stdout.splitlines()
        if "(NEEDED)" in line
    }


def related(kind, ref):
    return {
        PACKAGES[relation["relatedSpdxElement"]]["name"]
        for relation in SBOM["relationships"]
        if relation["relationshipType"] == kind and relation["spdxElementId"] == ref
    }


assert len(PACKAGES) == len(SBOM["packages"]), "two packages with one id"
for relation in SBOM["relationships"]:
    ends = {relation["spdxElementId"], relation["relatedSpdxElement"]}
    assert ends <= PACKAGES.keys() | {"SPDXRef-DOCUMENT"}, relation
described = related("DESCRIBES", "SPDXRef-DOCUMENT")
assert described == {"ramvol", "ramvol-csi", "ramvol-sdk", "ramvol-server"}, described

checked = 0
by_digest = {
    package["checksums"][0]["checksumValue"]: ref
    for ref, package in PACKAGES.items()
    if "checksums" in package
}
for deb in sys.argv[2:]:
    if "-dbgsym_" in deb:
        continue
    depends = related("DEPENDS_ON", by_digest[digest(deb)])
    for library in libraries(deb):
        assert owner(library) & depends, f"{deb}: {library} is of no package in it"
        checked += 1
assert checked > 20, checked
print(f"{checked} libraries are in the SBOM")
