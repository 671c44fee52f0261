#!/usr/bin/python3
"""ramvold with --save_dir: everything comes back after a stop, with the same identities
and sharing; its images are qemu-img's, too; a save that is killed, a disk that is full
and files that are damaged take nothing along. Prints what it measures.
Arguments: the paths of ramvold and ramvol."""

import contextlib
import glob
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time

RAMVOLD, RAMVOL = (os.path.realpath(path) for path in sys.argv[1:])
PATIENCE = 120  # Seconds; for a busy machine, not what is normal.
SEED = int(os.environ.get("SAVE_SEED", random.SystemRandom().randrange(1 << 32)))
RNG = random.Random(SEED)
KILLS = int(os.environ.get("SAVE_KILLS", 4))
MIB = 1 << 20
NOT_SAVED = 4
REFUSED = 3


class Server:
    all = []

    def __init__(self, folder, *flags, file_limit=None, expect_ready=True):
        self.folder = folder
        self._log = open(f"{folder}/log", "w+")

        def limit():
            if file_limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        self.process = subprocess.Popen(
            [
                RAMVOLD,
                f"--listen=unix:{folder}/grpc",
                "--metrics_listen=",
                f"--save_dir={folder}/saves",
                *(flags or ["--memory_limit=512M"]),
            ],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            preexec_fn=limit,
        )
        Server.all.append(self)
        self.ready = self.process.stdout.readline()
        assert ("ready" in self.ready) == expect_ready, self.log()

    def log(self):
        self._log.flush()
        with open(self._log.name) as file:
            return file.read()

    def stop(self, expect=0):
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        assert code == expect, (code, self.log())
        return self.log()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def run(self, *arguments, check=True, **more):
        return subprocess.run(
            [RAMVOL, f"--server=unix:{self.folder}/grpc", *map(str, arguments)],
            check=check,
            capture_output=True,
            **more,
        )

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--output=json").stdout)

    def content(self, name):
        return self.run("export", name, "-").stdout

    def everything(self):
        """All that must be the same after a restart."""
        listed = self.json("ls").get("volumes", [])
        snapshots = self.json("snapshot", "ls").get("snapshots", [])
        for one in listed + snapshots:
            one.pop("expireTime", None)
            one.pop("stats", None)
            one.pop("state")  # RESTORING for a while.
        names = [one["name"] for one in listed if one["name"] != "empty"]
        names += ["@" + one["name"] for one in snapshots]
        digests = {n: hashlib.sha256(self.content(n)).hexdigest() for n in names}
        return listed, snapshots, digests

    def restored(self):
        """Waits until all of the save is read."""
        end = time.monotonic() + PATIENCE
        while int(self.json("server").get("restoringBytes", 0)) > 0:
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)
        self.logged(" recovered")

    def logged(self, *words):
        """Waits until the log has all of them, which comes a little later."""
        end = time.monotonic() + PATIENCE
        while not all(word in self.log() for word in words):
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)

    def memory(self):
        return int(self.json("server")["memoryUsedBytes"])

    def resident(self, field="VmRSS"):
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith(field):
                    return int(line.split()[1]) * 1024
        raise AssertionError(f"no {field}")


class Peak(threading.Thread):
    """The most that a server has resident while this runs."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self._server = server
        self._done = threading.Event()
        self.bytes = 0

    def run(self):
        while not self._done.wait(0.02):
            with contextlib.suppress(OSError):
                self.bytes = max(self.bytes, self._server.resident())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self.join()


def text(size):
    words = [b"%x " % RNG.randrange(4096) for _ in range(500)]
    return b"".join(RNG.choice(words) for _ in range(size // 3))[:size]


def fill(server):
    """A golden image of text and noise, clones with changes, snapshots of all kinds."""
    golden = text(8 * MIB) + RNG.randbytes(6 * MIB)
    with open(f"{server.folder}/golden.img", "wb") as file:
        file.write(golden)
    server.run("import", f"{server.folder}/golden.img", "golden", "--label=team=vm")
    server.run("snapshot", "create", "golden", "gold", "--label=kind=base")
    for i in range(8):
        name = f"clone{i}"
        server.run("clone", "@gold", name, f"--label=number={i}", "--ttl=10h")
        for _ in range(3):
            offset = RNG.randrange(12 * MIB) // 4096 * 4096
            server.run("write", name, offset, input=RNG.randbytes(65536))
        if i % 4 == 0:
            server.run("snapshot", "create", name, f"of-{name}")
            server.run("trim", name, 5 * MIB, MIB)
    server.run("resize", "clone1", "30M")
    server.run("set", "clone2", "--memory-limit=300M")
    server.run("rename", "clone3", "renamed")
    server.run("create", "plain", "8M", "--allocator=sparse")
    server.run("write", "plain", 12345, input=text(100000))
    server.run("create", "reserved", "8M", "--allocator=malloc")
    server.run("write", "reserved", 0, input=RNG.randbytes(MIB))
    server.run("create", "empty", "10T")
    server.run("set", "plain", "--read-only=true")


def check_images(server):
    """qemu-img finds nothing wrong, and the same content."""
    save = max(glob.glob(f"{server.folder}/saves/save-*"))
    raw = f"{server.folder}/raw"
    for path in sorted(glob.glob(f"{save}/*.qcow2")):
        subprocess.run(["qemu-img", "check", "-q", path], check=True)
        name = os.path.basename(path)[: -len(".qcow2")]
        if name == "empty":
            continue
        with open(raw, "wb") as file:
            file.write(server.content(name))
        subprocess.run(
            ["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", path, raw],
            check=True,
        )
    os.unlink(raw)
    info = json.loads(
        subprocess.check_output(
            ["qemu-img", "info", "--output=json", f"{save}/clone4.qcow2"]
        )
    )
    assert info["backing-filename"] == "@of-clone4.qcow2", info
    return save


def round_trip(folder):
    server = Server(folder)
    fill(server)
    server.run("trim", "clone5", MIB, MIB)
    before = server.everything()
    memory = server.memory()
    resident = server.resident()
    with Peak(server) as peak:
        saved = server.json("save", "--all")
    print(f"save: {saved}; resident +{(peak.bytes - resident) / MIB:.0f} MiB")
    assert saved["directory"] == f"{folder}/saves/save-1", saved
    assert server.everything() == before
    check_images(server)
    # What changes after a save is in the one of the stop.
    server.run("write", "clone6", 0, input=b"the very last")
    before = server.everything()
    log = server.stop()
    assert "saved:" in log or " saved" in log, log

    assert log.rindex(" saved") < log.rindex(" stopped"), log

    server = Server(folder)
    assert server.everything() == before
    server.restored()
    print(
        f"memory {memory / MIB:.1f} MiB, {server.memory() / MIB:.1f} MiB after it; "
        f"disk {int(saved['bytes']) / MIB:.1f} MiB; resident at most "
        f"{server.resident('VmHWM') / MIB:.0f} MiB"
    )
    assert server.memory() < memory * 1.15, (server.memory(), memory)
    # Its snapshots and clones are as good as others.
    server.run("clone", "@gold", "another")
    server.run("revert", "clone0", "@of-clone0")
    server.run("rm", "another")
    before = server.everything()
    server.stop()
    return before


def killed_saves(folder, before):
    """Killed at any time of a save, the server finds the last good one."""
    duration = 0.5
    whole = 0
    for i in range(KILLS):
        server = Server(folder)
        assert server.everything() == before, i
        command = subprocess.Popen(
            [RAMVOL, f"--server=unix:{folder}/grpc", "save", "--all"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        if i == 0:
            began = time.monotonic()
            assert command.wait(PATIENCE) == 0
            duration = time.monotonic() - began
        else:
            time.sleep(RNG.uniform(0, duration))
        server.kill()
        whole += command.wait(PATIENCE) == 0
    server = Server(folder)
    assert server.everything() == before
    print(f"killed {KILLS} times, {whole} saves were done before")
    server.stop()
    names = os.listdir(f"{folder}/saves")
    assert len(names) == 1 and names[0].startswith("save-"), names


def interrupted_starts(folder, before):
    """Killed or stopped at any time of reading back, the server loses nothing."""
    server = Server(folder)
    size = 80 * MIB
    noise = RNG.randbytes(size)
    with open(f"{folder}/noise.img", "wb") as file:
        file.write(noise)
    server.run("import", f"{folder}/noise.img", "noise")
    server.stop()
    whole = 0
    duration = 1.0
    for i in range(KILLS):
        began = time.monotonic()
        server = Server(folder)
        last = server.run("read", "noise", size - 10, 10).stdout
        took = time.monotonic() - began
        assert last == noise[-10:], i
        if i == 0:
            left = int(server.json("server").get("restoringBytes", 0))
            server.restored()
            duration = time.monotonic() - began
            print(
                f"first read after {took:.2f} s, with {left / MIB:.0f} MiB still to "
                f"read; all is read after {duration:.2f} s"
            )
        elif i % 2 == 0:
            time.sleep(RNG.uniform(0, duration))
        whole += " recovered" in server.log()
        if RNG.randrange(2):
            server.kill()
        else:
            server.stop()
    server = Server(folder)
    server.run("rm", "noise")
    assert server.everything() == before
    print(f"ended {KILLS} starts, of which {whole} had read everything")
    server.stop()


def resumed_starts(folder, before):
    """With a state_dir, what was read and written before a kill stays, and the next
    server reads the rest of the save."""
    server = Server(folder)
    size = 96 * MIB
    content = bytearray(RNG.randbytes(size))
    with open(f"{folder}/noise.img", "wb") as file:
        file.write(content)
    server.run("import", f"{folder}/noise.img", "noise")
    server.stop()
    rounds = lazy = 0
    # A busy machine may have read all before anyone asks.
    while lazy == 0:
        assert rounds < 30, "never killed before all was read"
        rounds += 1
        lazy = kill_and_resume(folder, content)
    server = Server(folder)
    server.run("rm", "noise")
    assert server.everything() == before
    server.stop()
    print(
        f"killed {rounds * KILLS} servers with a state_dir, {lazy} before all was read"
    )


def kill_and_resume(folder, content):
    """How many of the servers had not read everything. What is written is saved at
    the end."""
    size = len(content)
    lazy = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm") as state:
        flags = ["--memory_limit=512M", f"--state_dir={state}/state"]
        for i in range(KILLS):
            server = Server(folder, *flags)
            lazy += int(server.json("server").get("restoringBytes", 0)) > 0
            for _ in range(2):
                offset = RNG.randrange(size - 70000)
                data = RNG.randbytes(RNG.choice((10, 4096, 70000)))
                server.run("write", "noise", offset, input=data)
                content[offset : offset + len(data)] = data
                offset = RNG.randrange(size - 70000)
                read = server.run("read", "noise", offset, 70000).stdout
                assert read == content[offset : offset + 70000], (i, offset)
            server.kill()
        # Without its save, nothing is made up.
        moved = f"{folder}/moved"
        os.rename(f"{folder}/saves", moved)
        server = Server(folder, *flags)
        if "data_loss" in server.log():
            states = {one["state"] for one in server.json("ls")["volumes"]}
            assert "VOLUME_STATE_INCOMPLETE" in states, states
        server.kill()
        shutil.rmtree(f"{folder}/saves")
        os.rename(moved, f"{folder}/saves")
        server = Server(folder, *flags)
        server.restored()
        assert server.content("noise") == content
        server.stop()
    return lazy


def full_disk(folder, before):
    server = Server(folder, file_limit=3 * MIB)
    failed = server.run("save", "--all", check=False)
    assert failed.returncode != 0, failed
    assert b"SAVE_FAILED" in failed.stderr and b"File too large" in failed.stderr, (
        failed
    )
    assert server.everything() == before
    log = server.stop(expect=NOT_SAVED)
    assert "save_failed" in log and "the save before is still there" in log, log
    server = Server(folder)
    assert server.everything() == before
    server.stop()


def other_refusals(folder, before):
    server = Server(folder, "--memory_limit=16M", expect_ready=False)
    assert server.process.wait(PATIENCE) == REFUSED
    assert "does not fit" in server.log() and "mv " in server.log(), server.log()

    save = max(glob.glob(f"{folder}/saves/save-*"))
    manifest = f"{save}/manifest"
    with open(manifest, "r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 4]))
    server = Server(folder, expect_ready=False)
    assert server.process.wait(PATIENCE) == REFUSED
    assert manifest in server.log() and "damaged" in server.log(), server.log()
    with open(manifest, "r+b") as file:
        file.seek(1000)
        file.write(byte)

    # One image: the others come back, and the save is kept.
    with open(f"{save}/plain.qcow2", "r+b") as file:
        file.truncate(70000)
    server = Server(folder)
    server.logged("data_loss", "plain.qcow2")
    server.restored()
    states = {one["name"]: one["state"] for one in server.json("ls")["volumes"]}
    assert states.pop("plain") == "VOLUME_STATE_DAMAGED", states
    assert states.keys() == {one["name"] for one in before[0]} - {"plain"}, states
    assert set(states.values()) == {"VOLUME_STATE_READY"}, states
    assert b"damaged" in server.run("ls").stdout
    lost = server.run("read", "plain", 0, 10, check=False)
    assert b"VOLUME_DAMAGED" in lost.stderr, lost
    server.run("rm", "plain")
    server.stop()
    kept = save.replace("/save-", "/kept-")
    assert os.path.exists(f"{kept}/plain.qcow2"), os.listdir(f"{folder}/saves")
    shutil.rmtree(kept)


def state_wins(folder):
    """With a state_dir that has volumes, nothing is read from the save_dir."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as state:
        flags = ["--memory_limit=512M", f"--state_dir={state}/state"]
        server = Server(folder, *flags)
        server.run("write", "clone7", 0, input=b"only in the state")
        before = server.everything()
        server.kill()
        server = Server(folder, *flags)
        assert server.everything() == before
        server.logged("has what is newer")
        server.stop()
        # As after a boot, then.
        shutil.rmtree(f"{state}/state")
        server = Server(folder, *flags)
        assert server.everything() == before
        server.stop()


def without_save_dir(folder):
    server = Server(folder, "--memory_limit=64M", "--save_dir=")
    failed = server.run("save", "--all", check=False)
    assert b"NO_SAVE_DIR" in failed.stderr, failed
    server.stop()


def main():
    print(f"SAVE_SEED={SEED}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            before = round_trip(folder)
            killed_saves(folder, before)
            interrupted_starts(folder, before)
            resumed_starts(folder, before)
            full_disk(folder, before)
            other_refusals(folder, before)
            state_wins(folder)
            without_save_dir(folder)
        finally:
            for server in Server.all:
                server.kill()


if __name__ == "__main__":
    main()
