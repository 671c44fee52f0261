#!/usr/bin/python3
"""csi-sanity, the tests that Kubernetes' own people have for drivers, over real mounts
by FUSE and loop devices, or by nbd with CSI_ATTACH=nbd; as file systems and as block
devices. Nothing fails, what is skipped is known, and nothing is left behind.
Arguments: the paths of ramvold, ramvol and ramvol-csi."""

import re
import subprocess
import sys

import csi_node

# What the driver does not have, and need not: its volumes are not attached by a
# controller, and have no classes of attributes that change. The rest is of
# alpha services.
KNOWN = {
    # Growing is the node's.
    "ControllerExpandVolume",
    "ControllerModifyVolume",
    "ControllerPublishVolume",
    "ControllerUnpublishVolume",
    "Modify volume",
    "Modify Volume",
    "NodeGetVolumeHealth",
    "NodeGetStorageHealth",
    "ControllerGetVolumeHealth",
    "ControllerListVolumeHealth",
    "Controller Publish, UnpublishVolume",
    "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS",
}


def run_sanity(node, access):
    print(f"== csi-sanity, {access}", flush=True)
    parameters = f"{node.folder}/parameters.yaml"
    with open(parameters, "w", encoding="utf-8") as file:
        file.write("{}\n" if csi_node.has_sys_resource() else "fsType: xfs\n")
    done = subprocess.run(
        [
            "csi-sanity",
            f"--csi.endpoint={node.endpoint.replace('unix:', 'unix://')}",
            f"--csi.mountdir={node.folder}/mount-{access}",
            f"--csi.stagingdir={node.folder}/staging-{access}",
            f"--csi.testvolumeaccesstype={access}",
            f"--csi.testvolumeparameters={parameters}",
            f"--csi.testvolumesize={csi_node.GIB}",
            f"--csi.testvolumeexpandsize={2 * csi_node.GIB}",
            "--ginkgo.no-color",
            "--ginkgo.v",
        ],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    skipped = set(
        re.findall(r"^ *\[SKIPPED\] (?!in \[)(.*)$", done.stdout, re.MULTILINE)
    )
    unknown = {why for why in skipped if not any(known in why for known in KNOWN)}
    live = {known for known in KNOWN if not any(known in why for why in skipped)}
    summary = re.findall(r"^.*(?:Passed|Ran \d+ of).*$", done.stdout, re.MULTILINE)
    print("\n".join(summary), flush=True)
    print("skipped:", "; ".join(sorted(skipped)), flush=True)
    if done.returncode != 0 or unknown or live or not summary:
        sys.exit(
            f"{done.stdout[-20000:]}\nskipped for unknown reasons: {unknown}; known, "
            f"but not skipped: {live}"
        )


def main():
    csi_node.own_mounts()
    with csi_node.Node(*sys.argv[1:]) as node:
        node.start_server()
        node.start_driver("--overcommit=100")
        for access in ("mount", "block"):
            run_sanity(node, access)
            csi_node.wait_until("nothing is left", lambda: not node.left())
            assert node.volumes() == [], node.volumes()
        assert node.driver.stop() == 0
    print("PASSED")


if __name__ == "__main__":
    main()
