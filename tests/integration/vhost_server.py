"""A ramvold with vhost-user, for the Python tests of it, which get the paths of ramvold
and ramvol as their first arguments. VHOST_SEED repeats the choices of a run."""

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from vhost_wire import Disk

RAMVOLD, RAMVOL = (os.path.realpath(path) for path in sys.argv[1:3])
SEED = int(os.environ.get("VHOST_SEED", random.SystemRandom().randrange(1 << 32)))
PATIENCE = 120  # Seconds; for a busy machine, not what is normal.
MIB, GIB = 1 << 20, 1 << 30
print(f"VHOST_SEED={SEED}", flush=True)

_numbers = itertools.count(1)


class Server:
    """A running ramvold in folders of its own."""

    def __init__(self, *flags, state=False):
        # Short, because a socket's path may have 107 bytes at most.
        self.folder = tempfile.mkdtemp(prefix="ramvol-vhost.", dir="/tmp")
        self.dir = os.path.join(self.folder, "v")
        os.mkdir(self.dir)
        self.flags = [
            f"--listen=unix:{self.folder}/grpc",
            f"--nbd_listen=unix:{self.folder}/nbd",
            f"--vhost_user_dir={self.dir}",
            "--metrics_listen=127.0.0.1:0",
            "--memory_limit=256M",
            *flags,
        ]
        self._state = None
        if state:
            self._state = tempfile.mkdtemp(prefix="ramvol-vhost.", dir="/dev/shm")
            self.flags.append(f"--state_dir={self._state}")
        self.start()

    def start(self):
        """Returns once it has printed that it is ready."""
        with open(os.path.join(self.folder, "log"), "a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [RAMVOLD, *self.flags], stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.ready = self._process.stdout.readline()
        assert "ready" in self.ready, self.log()

    @property
    def pid(self):
        return self._process.pid

    def alive(self):
        return self._process.poll() is None

    def kill(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def stop(self):
        self._process.terminate()
        assert self._process.wait(PATIENCE) == 0, self.log()
        self._process.stdout.close()

    def log(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8") as log:
            return log.read()[-4000:]

    def close(self):
        """Stops it; it must not have ended before."""
        status = self._process.poll()
        self._process.terminate()
        try:
            ended = self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.stdout.close()
            log = self.log()
            shutil.rmtree(self.folder)
            if self._state:
                shutil.rmtree(self._state)
        assert status is None and ended == 0, (status, ended, log)

    def ramvol(self, *words, check=True):
        """Runs the command line; what it printed."""
        return subprocess.run(
            [RAMVOL, f"--server=unix:{self.folder}/grpc", *map(str, words)],
            check=check,
            stdout=subprocess.PIPE,
            stderr=None if check else subprocess.STDOUT,
            text=True,
        ).stdout

    def stat(self, name):
        return json.loads(self.ramvol("stat", name, "--output=json"))

    def path(self, name):
        return os.path.join(self.dir, f"{name}.sock")

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("the server is gone")

    def count_fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def until(condition, what, seconds=PATIENCE):
    """Waits until it is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no end of waiting for {what}"
        time.sleep(0.02)


class Case(unittest.TestCase):
    """Tests over one server; FLAGS are more flags of it."""

    FLAGS = ()
    STATE = False

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.FLAGS, state=cls.STATE)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()

    def setUp(self):
        self.random = random.Random(f"{SEED} {self.id()}")

    def volume(self, size=64 * MIB, kind="volume"):
        """Makes a volume that goes away when the test ends; its name, which begins
        with its kind."""
        name = f"{kind}{next(_numbers)}"
        self.server.ramvol("create", name, size)
        until(lambda: os.path.exists(self.server.path(name)), "the socket")
        self.addCleanup(self.server.ramvol, "rm", "--force", name, check=False)
        return name

    def disk(self, name, **how):
        """A guest's disk that has not started yet."""
        disk = Disk(self.server.path(name), **how)
        self.addCleanup(disk.close)
        return disk


def main():
    del sys.argv[1:3]
    unittest.main(verbosity=2)
