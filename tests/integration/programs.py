"""Programs of ours that tests start, and others that they run."""

import os
import re
import shutil
import subprocess
import tempfile
import time

from tls_files import read

PATIENCE = 120


def run(*command, fails=False, **how):
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, **how
    )
    assert (done.returncode != 0) == fails, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


class Program:
    """ramvold or ramvol-nbd. SOCKETS in a word is a folder for sockets."""

    def __init__(self, *command):
        # A socket's path may have 107 bytes at most.
        self.sockets = tempfile.mkdtemp(prefix="ramvol-tls.", dir="/tmp")
        self.log = os.path.join(self.sockets, "log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [word.replace("SOCKETS", self.sockets) for word in command],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.ready = self.process.stdout.readline()

    def port(self, what):
        return int(re.search(what + r"[^;]*?127\.0\.0\.1:(\d+)", self.ready).group(1))

    def socket(self, name):
        return os.path.join(self.sockets, name)

    def wait_for_log(self, words):
        end = time.monotonic() + PATIENCE
        while words.encode() not in read(self.log):
            assert time.monotonic() < end, (words, read(self.log))
            time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        status = self.process.wait(PATIENCE)
        self.process.stdout.close()
        shutil.rmtree(self.sockets)
        assert status == 0, status
