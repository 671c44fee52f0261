"""The images of the cluster's containers, under the names that manifests give them."""

import os
import re
import shutil

import images

PROGRAMS = ["server/ramvold", "client/cli/ramvol", "nbd_bridge/ramvol-nbd"]
PROGRAMS += ["csi/ramvol-csi"]
# What ramvol-csi runs.
DRIVER_PROGRAMS = "mount umount losetup modprobe setpriv setsid fstrim".split()
DRIVER_PROGRAMS += "mkfs.ext4 e2fsck resize2fs mkfs.xfs xfs_growfs".split()
DRIVER_PROGRAMS += "mkfs.btrfs btrfs".split()
# What tests' pods run.
BUSYBOX = "sh cat cmp cp dd df echo rm sleep sync tail test touch".split()
# Entrypoints.
OURS = {"ramvol": "/usr/bin/ramvold", "ramvol-csi": "/usr/bin/ramvol-csi"}
# The last part of an image's name, and how the stand-in for it is called.
STAND_INS = {
    "csi-node-driver-registrar": "registrar",
    "csi-snapshot-metadata": "metadata",
    "livenessprobe": "livenessprobe",
}


def names_in(manifest):
    return sorted(set(re.findall(r'image: *"?([^"\s]+/[^"\s]+)', manifest)))


def _busybox(tree):
    tree.add(shutil.which("busybox"), "/bin/busybox")
    for name in BUSYBOX:
        tree.link(f"/bin/{name}", "busybox")
    return tree


def _ramvol(folder):
    tree = _busybox(images.Tree())
    for program in PROGRAMS:
        tree.program(f"{folder}/{program}", f"/usr/bin/{os.path.basename(program)}")
    for name in DRIVER_PROGRAMS:
        path = shutil.which(name)
        assert path, f"{name} is missing; ./dev deps installs it"
        # Merged into /usr: where an image has /bin of its own, both are there.
        tree.program(path, f"/usr/bin/{name}")
    script = os.path.join(os.path.dirname(__file__), "../../deploy/container")
    tree.add(f"{script}/ramvol-image.sh", "/usr/bin/ramvol-image")
    return tree.add("/etc/mke2fs.conf")


def _kind(name):
    """The last part of an image's name."""
    return name.rsplit("/", 1)[1].split("@")[0].split(":")[0]


class Images:
    def __init__(self, folder, programs, sidecars):
        """`programs` is the folder of ours, `sidecars` of those of Kubernetes."""
        self._folder = folder
        self._programs = programs
        self._sidecars = sidecars
        self._archives = []

    def _write(self, names, tree, *entrypoint):
        out = f"{self._folder}/{len(self._archives)}.tar"
        images.write(out, names, tree.layer(), entrypoint)
        self._archives.append(out)

    def _sidecar(self, name):
        kind = _kind(name)
        if kind in STAND_INS:
            tree = images.Tree().add(f"{self._sidecars}/stand_in", "/stand_in")
            self._write([name], tree, "/stand_in", STAND_INS[kind])
        else:
            tree = images.Tree().add(f"{self._sidecars}/{kind}", f"/{kind}")
            self._write([name], tree, f"/{kind}")

    def make(self, manifest):
        """The archives of all images of the manifest, and of the tests' own."""
        busybox = _busybox(images.Tree())
        self._write(["localhost/busybox:1"], busybox)
        self._write(
            ["localhost/pause:1"], busybox, "/bin/busybox", "sleep", "2147483647"
        )
        self._write(
            ["localhost/fio:1"],
            images.Tree().program(shutil.which("fio"), "/usr/bin/fio"),
            "/usr/bin/fio",
        )
        ours = _ramvol(self._programs)
        for name in names_in(manifest):
            if _kind(name) in OURS:
                self._write([name], ours, OURS[_kind(name)])
            else:
                self._sidecar(name)
        return self._archives
