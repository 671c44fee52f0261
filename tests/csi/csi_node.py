"""A node for tests of ramvol-csi: ramvold, the driver, a client of the driver, and
what both leave on the machine. Everything is mounted in a mount namespace of its own,
and nothing stays behind, however a test ends."""

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE = 60  # Seconds; for a busy machine, not what is normal.
MIB = 1 << 20
GIB = 1 << 30
CAP_SYS_RESOURCE = 24
# Short, for the sockets.
TMPDIR = os.environ.get("CSI_TMPDIR", "/tmp")
ATTACH = os.environ.get("CSI_ATTACH", "fuse")  # Or nbd.


def own_mounts():
    """Goes on in a mount namespace of this process's own, as root."""
    if os.environ.get("CSI_OWN_MOUNTS"):
        # Bazel's, when a test takes too long: what it made goes.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("got SIGTERM"))
        return
    os.environ["CSI_OWN_MOUNTS"] = "yes"
    command = ["unshare", "--mount", sys.executable, "-B", *sys.argv]
    if os.geteuid() != 0:
        kept = [
            f"{name}={value}"
            for name, value in os.environ.items()
            if name == "PATH" or name.startswith("CSI_")
        ]
        command = ["sudo", "--non-interactive", "env", *kept, *command]
    os.execvp(command[0], command)


def wait_until(what, condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {PATIENCE} s")
        time.sleep(0.01)


def has_sys_resource():
    """Some machines do not give root this capability, and ext4 grows only with it."""
    with open("/proc/self/status", encoding="utf-8") as file:
        line = next(line for line in file if line.startswith("CapEff"))
    return int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1 == 1


def mounts_below(folder, process="self"):
    """The targets that the process sees, the last one first."""
    with open(f"/proc/{process}/mountinfo", encoding="utf-8") as file:
        targets = [line.split()[4] for line in file]
    return [target for target in reversed(targets) if target.startswith(folder + "/")]


def device_at(target):
    """Whose file system is mounted there."""
    with open("/proc/self/mounts", encoding="utf-8") as file:
        (device,) = {line.split()[0] for line in file if line.split()[1] == target}
    return device


def loops_below(folder):
    """{device: file}"""
    found = {}
    for path in glob.glob("/sys/block/loop*/loop/backing_file"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
            backing = file.read().strip()
            if backing.startswith(folder + "/"):
                found["/dev/" + path.split("/")[3]] = backing
    return found


def backing_file(device):
    """What the kernel shows; "" if it is free, which it may become meanwhile."""
    with contextlib.suppress(OSError):
        name = device.split("/")[-1]
        with open(f"/sys/block/{name}/loop/backing_file", encoding="utf-8") as file:
            return file.read().strip()
    return ""


def servers_below(folder):
    """The numbers of the processes that serve files there by FUSE."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            words = file.read().decode(errors="replace").split("\0")
            if any(word.startswith(f"--serve_file={folder}/") for word in words):
                found.append(int(path.split("/")[2]))
    return found


def nbd_devices():
    """Those of the kernel that are attached; on a machine of the test's own."""
    return ["/dev/" + path.split("/")[3] for path in glob.glob("/sys/block/nbd*/pid")]


class Program:
    """Returns once it has printed that it is ready."""

    def __init__(self, log, *command, env=None):
        self.log = log
        with open(log, "a", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=file, text=True, env=env
            )
        self.ready = self.process.stdout.readline()
        if "ready" not in self.ready:
            raise AssertionError(f"not ready: {self.text()[-2000:]}")

    def text(self):
        with open(self.log, encoding="utf-8") as file:
            return file.read()

    def is_running(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        return code


class Node:
    def __init__(self, ramvold, ramvol, driver, memory="1G", state_dir=False):
        self.programs = [os.path.realpath(path) for path in (ramvold, ramvol, driver)]
        self.folder = tempfile.mkdtemp(prefix="ramvol-csi.", dir=TMPDIR)
        self.grpc = f"unix:{self.folder}/ramvold.sock"
        self.endpoint = f"unix:{self.folder}/csi.sock"
        self.devices = f"{self.folder}/volumes"
        self.memory = memory
        self.state = None
        if state_dir:
            self.state = tempfile.mkdtemp(prefix="ramvol-csi-test.", dir="/dev/shm")
        self.server = self.driver = None
        self.shared = False
        self.environment = dict(os.environ)
        path = self.environment["PATH"]
        self.environment["PATH"] = f"{self.folder}/bin:{path}:/usr/sbin:/sbin"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            for program in (self.server, self.driver):
                if program is not None:
                    print(f"{program.log}:\n{program.text()[-6000:]}", file=sys.stderr)
        # While ramvold is there, what is written gets through.
        self.unmount()
        for program in (self.driver, self.server):
            if program is not None and program.is_running():
                program.kill()
        self.sweep()

    def share(self):
        """As a kubelet's folders are shared: what a container mounts in this one is
        mounted here, too, and stays when that container ends."""
        subprocess.run(["mount", "--bind", self.folder, self.folder], check=True)
        self.shared = True
        subprocess.run(["mount", "--make-shared", self.folder], check=True)

    def start_server(self):
        state = [f"--state_dir={self.state}"] if self.state else []
        self.server = Program(
            f"{self.folder}/ramvold.log",
            self.programs[0],
            f"--listen={self.grpc}",
            # FUSE needs none.
            f"--nbd_listen={'' if ATTACH == 'fuse' else f'unix:{self.folder}/nbd.sock'}",
            "--metrics_listen=",
            f"--memory_limit={self.memory}",
            *state,
        )

    def start_driver(self, *flags):
        self.driver = Program(
            f"{self.folder}/driver.log",
            self.programs[2],
            f"--endpoint={self.endpoint}",
            "--node_id=node-1",
            f"--ramvold={self.grpc}",
            f"--state_dir={self.devices}",
            f"--attach={ATTACH}",
            *flags,
            env=self.environment,
        )

    def await_log(self, text):
        """Of the driver, which writes it a little later."""
        wait_until(f'"{text}"', lambda: text in self.driver.text())

    def ramvol(self, *words, **options):
        return subprocess.run(
            [self.programs[1], "--server", self.grpc, *words],
            check=True,
            stdout=subprocess.PIPE,
            timeout=PATIENCE,
            **options,
        ).stdout

    def await_free(self, volume):
        """Until ramvold has seen that the last client of the volume has gone."""
        self.ramvol("wait", volume, "--until=free")

    def volumes(self):
        return self.ramvol("ls", "--quiet").decode().split()

    def left(self):
        """What is on the machine: mounts, loop devices, processes, folders."""
        folders = []
        if os.path.isdir(self.devices):
            folders = os.listdir(self.devices)
        return (
            mounts_below(self.folder)
            + list(loops_below(self.folder))
            + (nbd_devices() if ATTACH == "nbd" else [])
            + [f"ramvol-fuse {pid}" for pid in servers_below(self.folder)]
            + folders
        )

    def unmount(self):
        """Takes away all mounts and devices. A process ends with its mount: killed while
        it holds the last reference to this namespace, it would wait for itself."""

        def quietly(*command):
            subprocess.run(command, check=False, capture_output=True, timeout=PATIENCE)

        for target in mounts_below(self.folder):
            if not target.startswith(self.devices):
                quietly("umount", target)
        for device in loops_below(self.folder):
            quietly("losetup", "--detach", device)
        for device in nbd_devices() if ATTACH == "nbd" else []:
            quietly(self.programs[1], "detach", "--force", device)
        for target in mounts_below(self.folder):
            quietly("umount", "--lazy", target)

    def sweep(self):
        """Takes away what a failed test has left, then the folder."""
        self.unmount()
        end = time.monotonic() + 10
        while servers_below(self.folder) and time.monotonic() < end:
            time.sleep(0.01)
        for pid in servers_below(self.folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.shared:
            subprocess.run(["umount", "--lazy", self.folder], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.state:
            shutil.rmtree(self.state, ignore_errors=True)
