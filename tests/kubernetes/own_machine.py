"""A machine within this one: the process goes on as root, with mounts, a network and
process numbers of its own. What runs in it ends with it, its ports are nobody else's, and
/dev/shm, /run, /var/lib and /var/log are empty and its own."""

import os
import signal
import subprocess
import sys

MARK = "RAMVOL_OWN_MACHINE"
NODE_ADDRESS = "192.0.2.1"
API_ADDRESS = "10.96.0.1"  # Of the Service "kubernetes", for want of a proxy.


def enter():
    if os.environ.get(MARK):
        # Which ends tests as well, and then all that they started.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        _furnish()
        return
    command = [
        *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"),
        "--mount-proc",
        # Who takes the exit codes of what outlives its parent.
        *("catatonit", "--", sys.executable, "-B", *sys.argv),
    ]
    path = f"PATH={os.environ['PATH']}:/usr/sbin:/sbin"
    sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    command = [*sudo, "env", f"{MARK}=yes", path, *command]
    os.execvp(command[0], command)


def _furnish():
    def run(*command):
        subprocess.run(command, check=True)

    # As on a node: what the driver mounts in its container, the kubelet sees.
    run("mount", "--make-rshared", "/")
    for folder in ("/dev/shm", "/run", "/var/lib", "/var/log"):
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
    run("ip", "link", "set", "lo", "up")
    for address in (NODE_ADDRESS, API_ADDRESS):
        run("ip", "address", "add", f"{address}/32", "dev", "lo")
    run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
