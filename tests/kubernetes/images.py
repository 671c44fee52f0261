"""Images for containerd out of files of this machine, with no builder and no registry."""

import hashlib
import io
import json
import os
import subprocess
import tarfile


def libraries_of(program):
    """The files that a program is linked with, as `ldd` finds them."""
    result = subprocess.run(
        ["ldd", program], check=False, capture_output=True, text=True
    )
    words = result.stdout.replace("=>", " ").split()
    return {word for word in words if word.startswith("/")}


class Tree:
    """The files of an image: {path: content}."""

    def __init__(self):
        self._files = {}
        self._links = {}

    def add(self, source, path=None):
        with open(source, "rb") as file:
            self._files[(path or source).lstrip("/")] = file.read()
        return self

    def link(self, path, target):
        self._links[path.lstrip("/")] = target
        return self

    def program(self, source, path=None):
        """With the libraries that it needs."""
        for library in libraries_of(source):
            self.add(os.path.realpath(library), library)
        return self.add(os.path.realpath(source), path or source)

    def layer(self):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            folders = {"tmp", "run", "proc", "sys", "dev"}
            for path in [*self._files, *self._links]:
                while path := os.path.dirname(path):
                    folders.add(path)
            for path in sorted(folders):
                info = tarfile.TarInfo(path)
                info.type = tarfile.DIRTYPE
                info.mode = 0o1777 if path == "tmp" else 0o755
                tar.addfile(info)
            for path, content in self._files.items():
                _add(tar, path, content)
            for path, target in self._links.items():
                info = tarfile.TarInfo(path)
                info.type = tarfile.SYMTYPE
                info.linkname = target
                tar.addfile(info)
        return data.getvalue()


def _add(tar, path, content):
    info = tarfile.TarInfo(path)
    info.size = len(content)
    info.mode = 0o755
    tar.addfile(info, io.BytesIO(content))


def write(out, names, layer, entrypoint):
    """An archive as of `docker save`, of one layer with several names."""
    digest = "sha256:" + hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": entrypoint,
            "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }
    manifest = [
        {"Config": "config.json", "RepoTags": list(names), "Layers": ["layer.tar"]}
    ]
    with tarfile.open(out, "w") as tar:
        _add(tar, "layer.tar", layer)
        _add(tar, "config.json", json.dumps(config).encode())
        _add(tar, "manifest.json", json.dumps(manifest).encode())
