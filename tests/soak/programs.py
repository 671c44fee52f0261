"""The programs under test: ramvold, and ramvol-nbd beside it.

They are stopped by their own process ids. Should the soak itself be killed, the
kernel ends them with it.
"""

import os
import re
import shutil
import subprocess
import tempfile

START_SECONDS = 60
STOP_SECONDS = 60


class ProgramError(Exception):
    """A program did not start, or did not end as it should."""


class Program:
    """A server that prints a ready line. Its standard error is in a file."""

    def __init__(self, name, log_path, argv):
        self.name, self.log_path = name, log_path
        with open(log_path, "wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # Ctrl-C stops the clients first.
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.ready = self._process.stdout.readline()
        if " ready: " not in self.ready:
            self.kill()
            raise ProgramError(f"{name} is not ready: {self.log()}")

    def address(self, what):
        """The last address of what it listens with, such as nbd."""
        found = re.search(rf"[:;] {what} ([^;\n]+)", self.ready)
        if not found:
            raise ProgramError(f"no {what} in {self.ready!r}")
        return found.group(1).split(",")[-1].strip()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:]

    def kill(self):
        self._process.kill()
        self._process.wait()

    def stop(self):
        """Asks it to stop, which it must do cleanly."""
        self._process.terminate()
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ProgramError(
                f"{self.name} did not stop in {STOP_SECONDS} s: {self.log()}"
            ) from None
        if code:
            raise ProgramError(f"{self.name} ended with {code}: {self.log()}")


class Servers:
    """Both programs, with files in a folder of their own.

    Each way in has a Unix socket and a port of the loopback. The programs' logs are
    in `paths.out`, which also has ramvold, ramvol and bridge.
    """

    def __init__(self, paths, memory_limit, flags=()):
        self.ramvol = paths.ramvol
        with open(paths.ramvold, "rb") as program:
            # Under ASan; then what is resident says nothing.
            self.keeps_freed = b"__asan_init" in program.read()
        # Short, because a socket's path may have 107 bytes at most.
        self.folder = tempfile.mkdtemp(prefix="ramvol-soak.")
        self._programs = []  # The one that needs the other first.
        try:
            self._start(paths, memory_limit, flags)
        except BaseException:
            self.kill()
            raise

    def _start(self, paths, memory_limit, flags):
        self.ramvold = Program(
            "ramvold",
            os.path.join(paths.out, "ramvold.log"),
            [
                os.path.abspath(paths.ramvold),
                f"--listen={self.grpc_unix},127.0.0.1:0",
                f"--nbd_listen=unix:{self.nbd_socket},127.0.0.1:0",
                "--metrics_listen=127.0.0.1:0",
                f"--memory_limit={memory_limit}",
                *flags,
            ],
        )
        self._programs.append(self.ramvold)
        self.bridge = Program(
            "ramvol-nbd",
            os.path.join(paths.out, "ramvol-nbd.log"),
            [
                os.path.abspath(paths.bridge),
                f"--server={self.grpc_unix}",
                f"--listen=unix:{self.bridge_socket},127.0.0.1:0",
                "--metrics_listen=",
            ],
        )
        self._programs.insert(0, self.bridge)

    @property
    def grpc_unix(self):
        return f"unix:{self.folder}/grpc"

    @property
    def nbd_socket(self):
        return f"{self.folder}/nbd"

    @property
    def bridge_socket(self):
        return f"{self.folder}/bridge"

    @property
    def grpc_tcp(self):
        return self.ramvold.address("grpc")

    @property
    def nbd_tcp(self):
        return self.ramvold.address("nbd")

    @property
    def bridge_tcp(self):
        return self.bridge.address("nbd")

    @property
    def metrics(self):
        return self.ramvold.address("metrics").split("/")[2]

    def uri(self, volume, socket=None):
        return f"nbd+unix:///{volume}?socket={socket or self.nbd_socket}"

    def stop(self):
        """Stops both, cleanly; raises when one was not."""
        errors = []
        for program in self._programs:
            try:
                program.stop()
            except ProgramError as error:
                errors.append(str(error))
        shutil.rmtree(self.folder, ignore_errors=True)
        if errors:
            raise ProgramError("; ".join(errors))

    def kill(self):
        """Ends them whatever they do. For when something else has failed."""
        for program in self._programs:
            program.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
