"""Runs what the chart renders with podman, which knows pods but no StatefulSets."""

import pathlib
import subprocess
import tempfile

# What podman needs where it may not choose: runc takes every version of cgroups,
# and containers must not ask for more files than the machine gives.
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def podman(*args, check=True, **kwargs):
    """Runs podman; AssertionError, with what it said, if that fails."""
    with tempfile.NamedTemporaryFile("w") as conf:
        conf.write(CONTAINERS_CONF)
        conf.flush()
        done = subprocess.run(
            ["env", f"CONTAINERS_CONF={conf.name}", "podman", *map(str, args)],
            capture_output=True,
            text=True,
            **kwargs,
        )
    assert not check or done.returncode == 0, f"{args}: {done.stdout}{done.stderr}"
    return done


def import_image(programs, name):
    """Makes an image of programs, on an empty root as the container's is.

    programs: paths; each becomes /usr/bin/NAME, the first the entry point.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "root"
        archive = pathlib.Path(folder) / "root.tar"
        (root / "usr/bin").mkdir(parents=True)
        subprocess.run(["cp", "-L", *programs, root / "usr/bin"], check=True)
        listed = subprocess.run(
            ["ldd", *programs], capture_output=True, text=True, check=True
        )
        words = listed.stdout.split()
        libraries = {word for word in words if word.startswith("/")}
        libraries = {path for path in libraries if not path.endswith(":")}
        for path in sorted(libraries):
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-L", path, target], check=True)
        subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
        entry = f'ENTRYPOINT ["/usr/bin/{pathlib.Path(programs[0]).name}"]'
        changes = entry, "USER 65532:65532", "STOPSIGNAL SIGTERM"
        podman("import", *(f"--change={c}" for c in changes), archive, name)
    return name


def pod_of(stateful_set, name, memory):
    """The pod that a StatefulSet makes, as far as podman knows the fields.

    memory: a folder on a tmpfs, for its emptyDir of medium Memory, which older
    versions of podman take for one of a disk.
    """
    template = stateful_set["spec"]["template"]
    spec = dict(template["spec"], restartPolicy="Never")
    # Of the cluster.
    for field in "nodeSelector", "serviceAccountName", "topologySpreadConstraints":
        del spec[field]
    # podman has no probes over gRPC, and takes ports for such to publish.
    dropped = "startupProbe", "readinessProbe", "livenessProbe", "ports"
    spec["containers"] = [
        {key: value for key, value in container.items() if key not in dropped}
        for container in spec["containers"]
    ]
    spec["volumes"] = [
        {"name": volume["name"], "hostPath": {"path": str(memory)}}
        if volume.get("emptyDir", {}).get("medium") == "Memory"
        else volume
        for volume in spec["volumes"]
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": template["metadata"]["labels"]},
        "spec": spec,
    }
