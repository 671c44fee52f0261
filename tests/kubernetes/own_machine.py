"""Machines within this one, with mounts, a network and process numbers of their own. What
runs in one ends with it, its ports are nobody else's, and /dev/shm, /run, /var/lib and
/var/log are its own. They share the kernel, so the devices, and FOLDER.

`enter` goes on in the first one as root. `Another` is one more beside it, which starts and
ends as real ones do when the power comes and goes."""

import os
import signal
import subprocess
import sys

MARK = "RAMVOL_OWN_MACHINE"
API_ADDRESS = "10.96.0.1"  # Of the Service "kubernetes", for want of a proxy.
FOLDER = "/srv"
OWN_FOLDERS = ("/dev/shm", "/run", "/var/lib", "/var/log")
NAMESPACES = ("--mount", "--net", "--pid", "--uts")


def enter():
    if os.environ.get(MARK):
        # Which ends tests as well, and then all that they started.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        _furnish(*OWN_FOLDERS, FOLDER)
        for address in (Own.address, API_ADDRESS):
            _run("ip", "address", "add", f"{address}/32", "dev", "lo")
        return
    command = [
        *("unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc"),
        # Who takes the exit codes of what outlives its parent.
        *("catatonit", "--", sys.executable, "-B", *sys.argv),
    ]
    path = f"PATH={os.environ['PATH']}:/usr/sbin:/sbin"
    sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    command = [*sudo, "env", f"{MARK}=yes", path, *command]
    os.execvp(command[0], command)


def _run(*command):
    subprocess.run(command, check=True)


def _furnish(*folders):
    # As on a node: what the driver mounts in its container, the kubelet sees.
    _run("mount", "--make-rshared", "/")
    for folder in folders:
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
    _run("ip", "link", "set", "lo", "up")
    _run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")


class Own:
    """The machine that this process runs on."""

    name = "node-1"
    address = "192.0.2.1"
    pods = "10.244.0.0/24"
    cgroup = ""
    root = ""  # Of its files, for this process.
    process = "self"  # Below /proc, one that sees its mounts.

    def command(self):
        """What leads there."""
        return []


class Another:
    def __init__(self, folder):
        """/var/lib is a folder of `folder`, and stays."""
        self.name = "node-2"
        self.address = "192.0.2.2"
        self.pods = "10.244.1.0/24"
        self.cgroup = f"/{self.name}"
        self._disk = f"{folder}/{self.name}/disk"
        os.makedirs(self._disk)
        self._unshare = None
        self.process = ""

    @property
    def root(self):
        return f"/proc/{self.process}/root"

    def command(self):
        return ["nsenter", f"--target={self.process}", *NAMESPACES]

    def start(self):
        self._unshare = subprocess.Popen(
            [
                *("unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc"),
                *("catatonit", "--", sys.executable, "-B", __file__),
                *(self.name, self._disk),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._unshare.stdout.readline() == "ready\n", f"no {self.name}"
        number = self._unshare.pid
        with open(f"/proc/{number}/task/{number}/children", encoding="ascii") as file:
            self.process = file.read().strip()
        self._connect()

    def _connect(self):
        """By a link between the two networks, which all that is not there goes through."""
        cable, there = self.name, self.command()
        _run(
            *("ip", "link", "add", cable, "type", "veth"),
            *("peer", "name", "uplink", "netns", self.process),
        )
        _run("ip", "link", "set", cable, "up")
        _run("ip", "route", "add", self.address, "dev", cable, "src", Own.address)
        _run("ip", "route", "add", self.pods, "via", self.address)
        _run(*there, "ip", "address", "add", f"{self.address}/32", "dev", "uplink")
        _run(*there, "ip", "link", "set", "uplink", "up")
        _run(*there, "ip", "route", "add", Own.address, "dev", "uplink")
        _run(*there, "ip", "route", "add", "default", "via", Own.address)

    def end(self):
        """At once, with all of its processes and mounts."""
        if self._unshare is None:
            return
        if self.process:
            os.kill(int(self.process), signal.SIGKILL)
        self._unshare.kill()
        self._unshare.wait()
        self._unshare.stdout.close()
        self._unshare = None
        # Which would go a little later.
        subprocess.run(
            ["ip", "link", "delete", self.name], check=False, capture_output=True
        )


def _be_another(name, disk):
    # Copies of the first one's, which would hold its devices.
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        targets = [line.split()[4] for line in file]
    for target in reversed(targets):
        if target.startswith((*OWN_FOLDERS, f"{FOLDER}/")):
            _run("umount", "--lazy", target)
    _furnish(*(folder for folder in OWN_FOLDERS if folder != "/var/lib"))
    _run("mount", "--bind", disk, "/var/lib")
    _run("hostname", name)
    print("ready", flush=True)
    signal.pause()


if __name__ == "__main__":
    _be_another(*sys.argv[1:])
