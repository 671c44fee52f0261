"""`ramvol top` on a terminal, by a pseudo terminal: draws, resizes, sorts, ends.

Usage: top_test.py RAMVOLD RAMVOL
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

RAMVOLD, RAMVOL = sys.argv[1:3]
TIMEOUT_SECONDS = 60
CLEAR_BELOW = b"\x1b[J"


def fail(message):
    sys.exit(f"FAILED: {message}")


class Screen:
    """A program on a terminal of its own."""

    def __init__(self, command, columns, rows):
        go_on, tell = os.pipe()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.read(go_on, 1)
            os.execv(command[0], command)
        self.output = b""
        self.resize(columns, rows)
        self.first_modes = self.modes()
        os.write(tell, b".")
        os.close(go_on)
        os.close(tell)

    def resize(self, columns, rows):
        """The kernel sends SIGWINCH."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, size)

    def modes(self):
        return termios.tcgetattr(self.fd)

    def type(self, keys):
        os.write(self.fd, keys)

    def pictures(self):
        """What was drawn whole so far, without its control sequences."""
        return [
            re.sub(rb"\x1b\[[?0-9]*[A-Za-z]", b"", part).decode().replace("\r", "")
            for part in self.output.split(CLEAR_BELOW)[:-1]
        ]

    def wait_for(self, what, accept):
        """The next picture that `accept` likes."""
        self.output = b""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            self.read(0.1)
            for picture in self.pictures():
                if accept(picture):
                    return picture
        return fail(f"no picture {what}; the last:\n{self.pictures()[-1:]}")

    def read(self, seconds):
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                self.output += os.read(self.fd, 65536)
            except OSError:  # The program has closed the terminal.
                time.sleep(seconds)

    def wait_for_end(self):
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            self.read(0.1)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid != 0:
                self.read(0)  # What it wrote last.
                return os.waitstatus_to_exitcode(status)
        return fail("top does not end")


def table(picture):
    """The lines from the table's title on, without what follows it."""
    lines = picture.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("VOLUME"))
    return lines[begin:]


def volumes(picture):
    return [
        line.split()[0] for line in table(picture)[1:] if line[:3] in ("aaa", "bbb")
    ]


def main():
    server = subprocess.Popen(
        [RAMVOLD, "--listen=127.0.0.1:0", "--metrics_listen=", "--memory_limit=256M"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        check(server)
    finally:
        server.kill()
        server.wait()
    print("top_test: passed")


def check(server):
    address = re.search(r"grpc ([^,;\s]+)", server.stdout.readline()).group(1)

    def ramvol(*arguments, **options):
        return subprocess.run(
            [RAMVOL, f"--server={address}", *arguments], check=True, **options
        )

    ramvol("create", "aaa", "10G", stdout=subprocess.DEVNULL)
    ramvol("create", "bbb", "1G", stdout=subprocess.DEVNULL)

    screen = Screen([RAMVOL, f"--server={address}", "top", "--interval=200ms"], 80, 24)
    screen.wait_for(
        "with both volumes", lambda p: "VOLUME" in p and volumes(p) == ["aaa", "bbb"]
    )

    # Only bbb works: it comes first, with its rates and its latency.
    def works(picture):
        if "VOLUME" not in picture or volumes(picture) != ["bbb", "aaa"]:
            return False
        row = re.search(r"^bbb .*$", picture, re.M).group(0)
        return re.search(r"\d (us|ms)\b", row) is not None

    writer = subprocess.Popen(
        [
            "/bin/sh",
            "-c",
            f"while head -c 65536 /dev/urandom | {RAMVOL} --server={address} write bbb 0; do :; done",
        ],
        start_new_session=True,
    )
    picture = screen.wait_for("with bbb first", works)
    print(picture)
    if any(len(line) >= 80 for line in picture.splitlines()):
        fail("a line is too long for 80 columns")

    screen.type(b"n")
    screen.wait_for(
        "sorted by name", lambda p: "VOLUME" in p and volumes(p) == ["aaa", "bbb"]
    )
    os.killpg(writer.pid, signal.SIGKILL)
    writer.wait()

    screen.resize(160, 50)
    picture = screen.wait_for("of 160 columns", lambda p: "CLIENTS" in p)
    print(picture)
    screen.resize(40, 8)
    picture = screen.wait_for(
        "of 40 columns", lambda p: max(map(len, p.splitlines()), default=80) < 40
    )
    if len(picture.splitlines()) > 8:
        fail(f"8 rows were asked for:\n{picture}")

    screen.resize(80, 24)
    server.terminate()
    server.wait()
    screen.wait_for("without a server", lambda p: "no server answers" in p)

    screen.type(b"q")
    if (code := screen.wait_for_end()) != 0:
        fail(f"top ended with {code}")
    if screen.modes() != screen.first_modes:
        fail("the terminal's modes are not what they were")
    if not screen.output.rstrip().endswith(b"\x1b[?25h\x1b[?1049l"):
        fail(f"the screen was not given back: {screen.output[-100:]}")

    # There is no server: nothing of the screen is taken.
    screen = Screen([RAMVOL, f"--server={address}", "top"], 80, 24)
    if (code := screen.wait_for_end()) != 5:
        fail(f"without a server top ended with {code}")
    if b"\x1b[?1049h" in screen.output:
        fail("top took the screen without a server")


main()
