"""What the figures were measured on, and whether all tools are there."""

import datetime
import os
import platform
import shutil
import subprocess

import plan
from errors import BenchError

# Programs by the Debian package that holds them.
_TOOLS = {
    "fio": "fio",
    "nbdkit": "nbdkit",
    "nbdcopy": "libnbd-bin",
    "qemu-img": "qemu-utils",
    "mke2fs": "e2fsprogs",
    "mkfs.btrfs": "btrfs-progs",
    "mkfs.xfs": "xfsprogs",
    "taskset": "util-linux",
    "cmp": "diffutils",
    "protoc": "protobuf-compiler",
}
_MODULES = {
    "nbd": "python3-libnbd",
    "grpc": "python3-grpcio",
    "google.protobuf": "python3-protobuf",
    "matplotlib": "python3-matplotlib",
}
_LEAST_AVAILABLE_BYTES = 6 * plan.GIB


def check_tools():
    """Raises if anything is missing, naming all of it."""
    packages = [p for tool, p in _TOOLS.items() if not shutil.which(tool)]
    for module, package in _MODULES.items():
        try:
            __import__(module)
        except ImportError:
            packages.append(package)
    if packages:
        raise BenchError(
            "missing Debian packages, which ./dev bench installs: "
            + " ".join(sorted(set(packages)))
        )


def check_programs(programs):
    """Raises if a program under test is not there."""
    for path in (programs.ramvold, programs.ramvol, programs.bridge):
        if not shutil.which(path):
            raise BenchError(
                f'no program "{path}"; ./dev bench builds it, or give its path'
            )


def check_memory():
    """Raises if the working sets would make the machine swap or worse."""
    available = available_bytes()
    if available < _LEAST_AVAILABLE_BYTES:
        raise BenchError(
            f"{available >> 20} MiB of memory are available, and "
            f"{_LEAST_AVAILABLE_BYTES >> 20} MiB are needed; stop other "
            "programs"
        )


def available_bytes():
    return _proc_field("/proc/meminfo", "MemAvailable") * 1024


def cores():
    return len(os.sched_getaffinity(0))


def _proc_field(path, name):
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1])
    return 0


def _cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return ((done.stdout or done.stderr).splitlines() or [""])[0].strip()


def _release():
    with open("/etc/os-release", encoding="utf-8") as file:
        fields = dict(line.rstrip().split("=", 1) for line in file if "=" in line)
    return fields.get("PRETTY_NAME", "").strip('"')


def describe(programs):
    """Machine, date and versions, for the report's head."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu_model(),
        "cores": cores(),
        "memory_bytes": _proc_field("/proc/meminfo", "MemTotal") * 1024,
        "kernel": platform.release(),
        "system": _release(),
        "load_average_before": os.getloadavg()[0],
        "versions": {
            "ramvol": _first_line(programs.ramvol, "--version"),
            "fio": _first_line("fio", "--version"),
            "nbdkit": _first_line("nbdkit", "--version"),
            "nbdcopy": _first_line("nbdcopy", "--version"),
            "qemu-img": _first_line("qemu-img", "--version"),
        },
    }
