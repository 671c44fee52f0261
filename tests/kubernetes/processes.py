"""Programs of the cluster, which run until they are ended."""

import os
import subprocess
import time

PATIENCE = 120  # Seconds; for a busy machine, not what is normal.


class CommandError(AssertionError):
    """A command of the cluster's failed; the text has its errors."""


def wait_until(what, condition, patience=PATIENCE):
    """Returns what the condition does, once that is true. A busy API server may fail."""
    end = time.monotonic() + patience
    why = ""
    while time.monotonic() < end:
        try:
            if value := condition():
                return value
        except CommandError as error:
            why = f": {error}"
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {patience} s{why}")


class Programs:
    def __init__(self, folder, debian, enter=()):
        """Their logs are in `folder`/log. `enter` is the command that leads to the
        machine that they run on."""
        self._folder = folder
        self._path = f"{debian}/usr/bin:{os.environ['PATH']}"
        self._enter = enter
        self._running = {}
        os.makedirs(f"{folder}/log", exist_ok=True)

    def start(self, name, program, *args):
        with open(f"{self._folder}/log/{name}", "ab") as log:
            self._running[name] = subprocess.Popen(
                [*self._enter, program, *args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={"PATH": self._path, "HOME": self._folder},
            )

    def check(self):
        dead = [name for name, p in self._running.items() if p.poll() is not None]
        assert not dead, f"{dead} ended"

    def end(self, *names):
        for name in names:
            program = self._running.pop(name, None)
            if program is None:
                continue
            program.terminate()
            try:
                program.wait(20)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
