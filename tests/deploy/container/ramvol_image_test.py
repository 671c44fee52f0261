"""What keeps an image on a node: ramvol-image, by a URL, against a real ramvold.

Arguments: ramvol-image, ramvold, ramvol.
"""

import functools
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest

SCRIPT, RAMVOLD, RAMVOL = (os.path.abspath(arg) for arg in sys.argv[1:4])
CONTENT = os.urandom(1 << 20)
PATIENCE = 120  # Seconds; for a busy machine, not what is normal.


def wait_until(what, happened):
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.05)


class Handler(http.server.SimpleHTTPRequestHandler):
    statuses = []

    def log_request(self, code="-", size="-"):
        self.statuses.append(int(code))


class ImageTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(dir=os.environ["TEST_TMPDIR"])
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        # Short, for the socket.
        sockets = tempfile.TemporaryDirectory(dir="/tmp")
        self.addCleanup(sockets.cleanup)
        self.server = f"unix:{sockets.name}/grpc.sock"
        ramvold = subprocess.Popen(
            [
                RAMVOLD,
                f"--listen={self.server}",
                "--metrics_listen=",
                "--memory_limit=64M",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.end, ramvold)
        self.assertIn("ready", ramvold.stdout.readline())
        (self.folder / "served").mkdir()
        self.file = self.folder / "served" / "golden.img"
        handler = functools.partial(Handler, directory=self.folder / "served")
        Handler.statuses = []
        files = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.addCleanup(files.server_close)
        threading.Thread(target=files.serve_forever, daemon=True).start()
        self.addCleanup(files.shutdown)
        self.url = f"http://127.0.0.1:{files.server_port}/golden.img"
        self.errors = self.folder / "errors"

    def end(self, program):
        program.terminate()
        program.communicate()
        return program.returncode

    def environment(self):
        (self.folder / "bin").mkdir(exist_ok=True)
        if not (self.folder / "bin/ramvol").exists():
            (self.folder / "bin/ramvol").symlink_to(RAMVOL)
        return {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "RAMVOL_SERVER": self.server,
            "NAME": "golden",
            "FILE": str(self.folder / "download"),
            "FORMAT": "auto",
            "URL": self.url,
            "SHA256": hashlib.sha256(CONTENT).hexdigest(),
            "PAUSE": "1",
        }

    def start(self, **others):
        with open(self.errors, "w", encoding="utf-8") as errors:
            program = subprocess.Popen(
                [SCRIPT],
                env=self.environment() | others,
                stderr=errors,
                stdout=subprocess.DEVNULL,
            )
        self.addCleanup(self.end, program)
        return program

    def ramvol(self, *words):
        return subprocess.run(
            [RAMVOL, f"--server={self.server}", *words], capture_output=True, check=True
        ).stdout

    def labels(self):
        shown = self.ramvol("show", "golden", "--output=json")
        return json.loads(shown).get("labels", {})

    def is_ready(self):
        """As the probe of the chart has it."""
        asked = subprocess.run(
            [SCRIPT, "check"], env=self.environment(), capture_output=True
        )
        return asked.returncode == 0

    def says(self, words):
        return words in self.errors.read_text(encoding="utf-8")

    def test_the_volume_is_there_and_comes_back(self):
        self.file.write_bytes(CONTENT)
        self.assertFalse(self.is_ready())
        program = self.start()
        wait_until("the image", self.is_ready)
        self.assertEqual(self.labels(), {"csi-image": "golden"})
        self.assertEqual(self.ramvol("export", "golden", "-"), CONTENT)
        self.assertFalse((self.folder / "download").exists())
        self.ramvol("rm", "golden")
        wait_until("the image, again", self.is_ready)
        self.assertEqual(self.end(program), 0)

    def test_what_no_volume_can_be_made_of_is_fetched_once(self):
        content = b"QFI\xfb, and no more"
        self.file.write_bytes(content)
        old = time.time() - 3600
        os.utime(self.file, (old, old))
        self.start(SHA256=hashlib.sha256(content).hexdigest())
        wait_until("two tries", lambda: len(Handler.statuses) >= 2)
        self.assertEqual(Handler.statuses[:2], [200, 304])
        self.assertFalse(self.is_ready())
        self.assertTrue(self.says("golden could not be made"))

    def test_what_came_damaged_is_fetched_again(self):
        """The server's file is as old as before."""
        old = time.time() - 3600
        self.file.write_bytes(CONTENT[:-1])
        os.utime(self.file, (old, old))
        self.start()
        wait_until("words", lambda: self.says("golden could not be made"))
        self.assertFalse(self.is_ready())
        self.file.write_bytes(CONTENT)
        os.utime(self.file, (old, old))
        wait_until("the image", self.is_ready)
        self.assertEqual(set(Handler.statuses), {200})

    def test_tries_are_ever_further_apart(self):
        self.start()  # There is no file.
        wait_until("tries", lambda: self.says("trying again in 4 s"))
        self.assertTrue(self.says("in 1 s") and self.says("in 2 s"))

    def test_a_volume_of_somebody_is_not_offered(self):
        self.file.write_bytes(CONTENT)
        # Such as a copy of another image.
        self.ramvol("create", "golden", "1M", "--label=csi-image=other")
        self.start()
        wait_until("words", lambda: self.says("is there, but is no image"))
        self.assertEqual(self.labels(), {"csi-image": "other"})
        self.assertFalse(self.is_ready())
        self.assertEqual(Handler.statuses, [])

    def test_what_is_withdrawn_stays_so(self):
        self.file.write_bytes(CONTENT)
        self.start()
        wait_until("the image", self.is_ready)
        self.ramvol("set", "golden", "--label=csi-image=false")
        time.sleep(2)  # Of which one is its pause.
        self.assertEqual(self.labels(), {"csi-image": "false"})
        self.assertTrue(self.is_ready())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
