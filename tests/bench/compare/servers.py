"""Starts and stops what is compared, and reads what it costs from /proc.

Each server is a context manager that serves one disk by NBD on a Unix socket in
a folder of its own. It is stopped by its own process id, however the block that
uses it ends; should this program be killed, the kernel ends its servers.
"""

import ctypes
import dataclasses
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import plan
from errors import BenchError

START_SECONDS = 30
STOP_SECONDS = 20
VOLUME = "disk"

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@dataclasses.dataclass(frozen=True)
class Programs:
    """Paths of the programs under test."""

    ramvold: str
    ramvol: str
    bridge: str


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def cpu_seconds_of(pid):
    """CPU time of all threads of a process, also of those that ended."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        # The name, in brackets, may hold anything.
        fields = file.read().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / _TICKS_PER_SECOND


def rss_bytes_of(pid):
    """Resident memory; smaps_rollup is exact where status may lag."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    raise BenchError(f"/proc/{pid}/smaps_rollup has no line Rss")


class Process:
    """One process of a server, which writes into a log file."""

    def __init__(self, argv, directory):
        self.argv = argv
        self.log_path = os.path.join(directory, f"{id(self):x}.log")
        with open(self.log_path, "wb") as log:
            self._popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C stops the clients; the servers are stopped after them.
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self.pid = self._popen.pid

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:]

    def alive(self):
        return self._popen.poll() is None

    def await_(self, ready):
        """Waits until `ready` is true of this process."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if not self.alive() or time.monotonic() > deadline:
                raise BenchError(
                    f"{shlex.join(self.argv)} does not serve: {self.log()}"
                )
            time.sleep(0.01)

    def await_line(self, words):
        self.await_(lambda: words in self.log())

    def stop(self):
        """Asks it to stop, then makes it."""
        if not self.alive():
            return
        self._popen.terminate()
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


class Server:
    """What all that is compared has in common."""

    name = ""

    def __init__(self, size, cores=None):
        self.size = size
        self._cores = cores
        self._processes = []
        self.directory = ""

    def __enter__(self):
        # Short, because a socket's path may have 107 bytes at most.
        self.directory = tempfile.mkdtemp(prefix="ramvol-bench.", dir="/tmp")
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_):
        self._stop()

    def _start(self):
        raise NotImplementedError

    def _stop(self):
        # What was started last depends on what was started first.
        for process in reversed(self._processes):
            process.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _spawn(self, argv):
        if self._cores:
            argv = ["taskset", "-c", f"0-{self._cores - 1}", *argv]
        self._processes.append(Process(argv, self.directory))
        return self._processes[-1]

    def path(self, name):
        return os.path.join(self.directory, name)

    @property
    def uri(self):
        return f"nbd+unix:///{self.export}?socket={self.path('nbd')}"

    export = ""

    @property
    def main_pid(self):
        return self._processes[0].pid

    def cpu_seconds(self):
        return sum(cpu_seconds_of(p.pid) for p in self._processes)

    def rss_bytes(self):
        return sum(rss_bytes_of(p.pid) for p in self._processes)

    def alive(self):
        return all(p.alive() for p in self._processes)

    def shown(self, argv):
        """A command as a report shows it: without this machine's folders."""
        words = [word.replace(self.directory, "DIR") for word in argv]
        return shlex.join(
            os.path.basename(word) if word.startswith("/") else word for word in words
        )

    def commands(self):
        return [self.shown(p.argv) for p in self._processes]


class Ramvold(Server):
    """ramvold, which serves NBD in process."""

    name = plan.RAMVOLD
    export = VOLUME

    def __init__(self, programs, size, flags=(), vhost_user=False, **options):
        super().__init__(size, **options)
        self._programs = programs
        self._flags = list(flags)
        self._vhost_user = vhost_user

    def _start_ramvold(self, *flags):
        process = self._spawn(
            [
                self._programs.ramvold,
                f"--listen=unix:{self.path('grpc')}",
                "--metrics_listen=",
                *flags,
                *self._flags,
            ]
        )
        process.await_line("ramvold ready: ")
        if self.size:
            self.ramvol("create", VOLUME, self.size)

    def _start(self):
        vhost_user = [f"--vhost_user_dir={self.directory}"] if self._vhost_user else []
        self._start_ramvold(f"--nbd_listen=unix:{self.path('nbd')}", *vhost_user)

    @property
    def vhost_path(self):
        return self.path(f"{VOLUME}.sock")

    @property
    def grpc_address(self):
        return f"unix:{self.path('grpc')}"

    def ramvol(self, *arguments):
        """Runs the command line; what it printed."""
        argv = [self._programs.ramvol, *map(str, arguments)]
        done = subprocess.run(
            argv,
            env={**os.environ, "RAMVOL_SERVER": self.grpc_address},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"{shlex.join(argv)}: {done.stderr.strip()}")
        return done.stdout

    def stat(self, volume=VOLUME):
        return json.loads(self.ramvol("stat", volume, "--output=json"))


class Qsd(Server):
    """qemu-storage-daemon, which exports a file in memory, or null-co, by vhost-user."""

    name = "qemu-storage-daemon"

    def __init__(self, size, kind, **options):
        super().__init__(size, **options)
        self.kind = kind

    @property
    def vhost_path(self):
        return self.path("qsd.sock")

    def _start(self):
        node = f"driver=null-co,node-name=n,size={self.size},read-zeroes=on"
        if self.kind == "file":
            # Where files are in memory, whatever /tmp is.
            self._file = tempfile.NamedTemporaryFile(dir="/dev/shm")
            self._file.truncate(self.size)
            node = f"driver=file,node-name=n,filename={self._file.name},discard=unmap"
        self._spawn(
            [
                *("ramvol-vhost", "qemu-storage-daemon", "--blockdev", node),
                "--export",
                "type=vhost-user-blk,id=e,node-name=n,writable=on,addr.type=unix,"
                f"addr.path={self.vhost_path}",
            ]
        ).await_(lambda: os.path.exists(self.vhost_path))

    def _stop(self):
        super()._stop()
        if self.kind == "file":
            self._file.close()


class Bridge(Ramvold):
    """ramvol-nbd in front of a ramvold, by gRPC over a Unix socket."""

    name = plan.BRIDGE

    def _start(self):
        self._start_ramvold()
        self._spawn(
            [
                self._programs.bridge,
                f"--server={self.grpc_address}",
                f"--listen=unix:{self.path('nbd')}",
            ]
        ).await_line("ramvol-nbd ready: ")


class Nbdkit(Server):
    """nbdkit with a plugin and the plugin's arguments."""

    def __init__(self, name, size, plugin, no_extents=False, **options):
        super().__init__(size, **options)
        self.name = name
        self._plugin = plugin
        self._no_extents = no_extents

    def _start(self):
        filters = ["--filter=noextents"] if self._no_extents else []
        plugin, *arguments = self._plugin
        socket_path = self.path("nbd")
        self._spawn(
            [
                *("nbdkit", "--foreground", "--unix", socket_path),
                *filters,
                *(plugin, f"size={self.size}"),
                *arguments,
            ]
        ).await_(lambda: _accepts(socket_path))


def _accepts(path):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except OSError:
            return False
    return True


_NBDKIT_PLUGINS = {
    plan.NBDKIT_ZSTD: ("memory", "allocator=zstd"),
    plan.NBDKIT_SPARSE: ("memory", "allocator=sparse"),
    plan.NBDKIT_MALLOC: ("memory", "allocator=malloc"),
    plan.NBDKIT_NULL: ("null",),
}


class Factory:
    """Makes servers by the names of plan.SERVERS, not started yet."""

    def __init__(self, programs, memory_limit):
        self._programs = programs
        self._memory_limit = memory_limit

    def make(self, name, size, hot_cache=None, no_extents=False, flags=(), **options):
        """`hot_cache` and `flags` concern ours, `no_extents` nbdkit; others ignore
        them."""
        if name not in plan.OURS:
            return Nbdkit(name, size, _NBDKIT_PLUGINS[name], no_extents, **options)
        flags = [f"--memory_limit={self._memory_limit}", *flags]
        if hot_cache:
            flags.append(f"--hot_cache={hot_cache}")
        kind = Ramvold if name == plan.RAMVOLD else Bridge
        return kind(self._programs, size, flags, **options)
