#!/usr/bin/python3
"""Runs the commands of README.md and the pages of docs/ as a stranger would: each
page's, in order, against the server of `./dev run`.

In a network and below a /run of its own, so that the pages' own addresses can be
used while others use the machine's. markdown.py says what runs. Arguments: the
paths of ramvold, ramvol and ramvol-nbd, then the pages.
"""

import contextlib
import fcntl
import functools
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile

import markdown

LIMIT_SECONDS = 240  # For a busy machine, not what is normal.
NAMES = "HOST OTHER"  # Of hosts in the pages: this one.
PRIVATE = "RAMVOL_DOCS_TEST"  # Set once the namespaces are.
TMP = os.environ["TEST_TMPDIR"]

# What the pages take for given, in the folder where their commands run.
GIVEN = """
mkdir files && cp -L docs/*.md files
truncate -s 64M some.img && mkfs.ext4 -q -d files some.img
cp --sparse=always some.img golden.img
qemu-img convert -q -f raw -O qcow2 some.img some.qcow2
"""

# A page on which three things are wrong.
WRONG = """
```sh
ramvol show nothing && true
```

<!-- run: output -->
    There is no such output.

A flag that there is not: `ramvol ls --sizes`.
"""


def be_private():
    """Goes on in namespaces of its own: of users, mounts and the network."""
    if PRIVATE not in os.environ:
        space = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
        os.environ[PRIVATE] = "1"
        os.execvp(space[0], [*space, sys.executable, "-B", *sys.argv])
    hosts = os.path.join(TMP, "hosts")
    with open(hosts, "w", encoding="utf-8") as file:
        file.write(f"127.0.0.1 localhost {NAMES}\n")
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        up = struct.pack("16sH14x", b"lo", 1)  # IFF_UP
        fcntl.ioctl(any_socket, 0x8914, up)  # SIOCSIFFLAGS


class Page:
    """A page, and the folder that its commands run in."""

    def __init__(self, path, programs):
        self.path, self.programs = path, programs
        with open(path, encoding="utf-8") as file:
            self.text = file.read()
        self.blocks = markdown.blocks(self.text)
        self.dir = tempfile.mkdtemp(dir=TMP)
        self.results = tempfile.mkdtemp(dir=TMP)
        self.commands = [  # (line, command, whether it runs beside the others)
            (line, command.strip(), block.says("beside"))
            for block in self.blocks
            for line, command in block.runs()
        ]

    def run(self):
        """Runs the commands, then returns a text for each failure."""
        self._prepare()
        ramvold, ramvol, _ = self.programs
        flags = ["--nbd_listen=127.0.0.1:10809", "--memory_limit=512M"]
        with (
            open(os.path.join(self.results, "log"), "w", encoding="utf-8") as log,
            subprocess.Popen(
                [ramvold, *flags], stdout=subprocess.PIPE, stderr=log, text=True
            ) as server,
        ):
            try:
                ready = server.stdout.readline()
                if self.path == "README.md":  # As ./dev run does.
                    create = [ramvol, "create", "scratch", "1G"]
                    subprocess.run(create, stdout=log, check=True)
                self._run_script()
            finally:
                server.terminate()
        return [
            *self._failed_commands(),
            *self._other_outputs(ready),
            *self.wrong_spans(),
        ]

    def _prepare(self):
        for name in ("README.md", "deploy", "docs"):
            os.symlink(os.path.abspath(name), os.path.join(self.dir, name))
        os.symlink(os.getcwd(), os.path.join(self.dir, "bazel-bin"))
        subprocess.run(["bash", "-ec", GIVEN], cwd=self.dir, check=True)

    def _run_script(self):
        # README.md says itself how the programs come to be on the PATH.
        folders = {os.path.dirname(os.path.abspath(name)) for name in self.programs}
        own = [] if self.path == "README.md" else sorted(folders)
        path = [*own, os.environ["PATH"], "/usr/sbin", "/sbin"]
        environment = {"HOME": self.dir, "LANG": "C.UTF-8", "PATH": ":".join(path)}
        with subprocess.Popen(
            ["bash", "-c", self._script()],
            cwd=self.dir,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        ) as shell:
            # What has not ended has no status.
            with contextlib.suppress(subprocess.TimeoutExpired):
                shell.wait(LIMIT_SECONDS)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)

    def _script(self):
        """All commands for one shell, which keeps each one's output and status."""
        script = "set -o pipefail\n"
        for line, command, beside in self.commands:
            result = os.path.join(self.results, str(line))
            end = f"& until [ -s {result} ]; do sleep 0.05; done" if beside else "\n"
            script += f"{{ {command} {end}\n}} >{result} 2>&1\n"
            script += f"echo $? >{result}.status\n"
        return script

    def _result(self, name):
        path = os.path.join(self.results, str(name))
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def _failed_commands(self):
        for line, command, _ in self.commands:
            if (status := self._result(f"{line}.status").strip()) != "0":
                what = f"exit code {status}" if status else "did not end"
                yield f"{self.path}:{line}: {what}\n{command}\n{self._result(line)}"

    def _other_outputs(self, ready):
        printed = ready
        for block in self.blocks:
            if block.says("output") and shape(block.text()) not in shape(printed):
                yield f"{self.path}:{block.line}: printed was\n{printed}"
            for line, _ in block.runs():
                printed = self._result(line)

    def wrong_spans(self):
        """A text for each command in running text with a flag that --help lacks."""
        for line, span in markdown.spans(self.text):
            name, *words = span.split()
            program = {os.path.basename(name): name for name in self.programs}.get(name)
            if not program:
                continue
            said = help_of(program)
            if words and re.fullmatch("[a-z]+", words[0]):
                said += help_of(program, words[0])
            for flag in re.findall(r"--[a-z][a-z_-]*[a-z]", span):
                if flag.replace("_", "-") not in said.replace("_", "-"):
                    yield f"{self.path}:{line}: no flag {flag}: {span}"


@functools.cache
def help_of(*command):
    """What `command --help` prints; nothing for a command that there is not."""
    asked = subprocess.run([*command, "--help"], capture_output=True, text=True)
    return asked.stdout


def shape(text):
    """What is compared of an output: no numbers, no line breaks."""
    return re.sub(r"\s+", " ", re.sub(r"\d+", "0", text)).strip()


def check_what_fails(programs):
    """A page with mistakes is found to have them."""
    path = os.path.join(TMP, "wrong.md")
    with open(path, "w", encoding="utf-8") as file:
        file.write(WRONG)
    found = [failure.splitlines()[0] for failure in Page(path, programs).run()]
    ends = [": exit code 3", ": printed was", ": no flag --sizes: ramvol ls --sizes"]
    if [re.sub(r"^[^:]*:\d+", "", text) for text in found] != ends:
        sys.exit(f"found of wrong.md: {found}")


def main():
    be_private()
    check_what_fails(sys.argv[1:4])
    failures = []
    for path in sys.argv[4:]:
        page = Page(path, sys.argv[1:4])
        failures += page.run()
        print(f"{path}: {len(page.commands)} commands run")
        for block in page.blocks:
            for line, command, why in block.skips():
                print(f"{path}:{line}: not run, {why}: {command.splitlines()[0]}")
    print(*failures, sep="\n---\n")
    sys.exit(f"{len(failures)} failed" if failures else None)


if __name__ == "__main__":
    main()
