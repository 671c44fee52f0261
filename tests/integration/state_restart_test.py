#!/usr/bin/python3
"""ramvold with --state_dir, killed again and again under load. Its clients go on: fio
and a client with a model over ramvol-nbd without an error, one of its own NBD that
connects again, QEMU with reconnect-delay. Nothing that was acknowledged is lost,
nothing else comes late, and clones that were being made are there as a whole or not at
all. Then a clean stop, a second server on the same folder, damage; and when all is
deleted, no memory is taken.
Arguments: the paths of ramvold, ramvol and ramvol-nbd. STATE_SEED=N repeats a run,
STATE_KILLS=N kills at least N times; one fio after the other then."""

import contextlib
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import threading
import time

import nbd

RAMVOLD, RAMVOL, BRIDGE = (os.path.realpath(path) for path in sys.argv[1:])
RECONNECT_SECONDS = 60
PATIENCE = 120  # Seconds; for a busy machine, not what is normal.
KILLS = int(os.environ.get("STATE_KILLS", "5"))
SEED = int(os.environ.get("STATE_SEED", random.SystemRandom().randrange(1 << 32)))
RNG = random.Random(SEED)

MIB = 1 << 20
BLOCK = 4096
# As no other number in the memory file, for damage().
GOLDEN_BYTES = 0x1357000


class Program:
    """A server; returns once it has printed that it is ready."""

    def __init__(self, log, *command):
        self.log = log
        with open(log, "a") as file:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=file, text=True
            )
        self.ready = self._process.stdout.readline()
        if "ready" not in self.ready:
            with open(log) as file:
                raise AssertionError(f"not ready: {file.read()[-2000:]}")

    def kill(self):
        self._process.kill()
        self._process.wait()

    def stop(self):
        """Asks it to end; its exit code."""
        self._process.terminate()
        return self._process.wait(PATIENCE)


class Setting:
    def __init__(self, folder, state):
        self._folder = folder
        self.state = state
        self.kills = 0
        self.server = self.bridge = None

    def flags(self):
        return (
            f"--listen=unix:{self._folder}/grpc",
            f"--nbd_listen=unix:{self._folder}/nbd",
            "--metrics_listen=",
            "--memory_limit=512M",
            f"--state_dir={self.state}",
        )

    def start_server(self):
        self._log_begin = len(self.log()) if self.server else 0
        self.server = Program(f"{self._folder}/server.log", RAMVOLD, *self.flags())

    def start_bridge(self):
        self.bridge = Program(
            f"{self._folder}/bridge.log",
            BRIDGE,
            f"--server=unix:{self._folder}/grpc",
            f"--listen=unix:{self._folder}/bridge",
            "--metrics_listen=",
            f"--reconnect_timeout={RECONNECT_SECONDS}s",
        )

    def kill_server(self):
        """And starts another one."""
        self.server.kill()
        self.kills += 1
        # Half of the time clients notice that nobody listens.
        time.sleep(RNG.randrange(2) * RNG.uniform(0, 0.3))
        self.start_server()

    def command(self, *arguments):
        return [RAMVOL, f"--server=unix:{self._folder}/grpc", *map(str, arguments)]

    def ramvol(self, *arguments, stdin=None):
        return subprocess.run(
            self.command(*arguments), check=True, input=stdin, stdout=subprocess.PIPE
        ).stdout

    def volumes(self):
        listed = json.loads(self.ramvol("ls", "--output=json"))
        return {volume["name"]: volume for volume in listed.get("volumes", [])}

    def allocated(self):
        return int(
            json.loads(self.ramvol("server", "--output=json"))["memoryAllocatedBytes"]
        )

    def socket(self, name):
        return f"{self._folder}/{name}"

    def log(self):
        with open(self.server.log) as file:
            return file.read()

    def logged(self, pattern):
        """Waits until this server has logged it, which may be after it is ready."""
        deadline = time.monotonic() + PATIENCE
        while True:
            match = re.search(pattern, self.log()[self._log_begin :])
            if match:
                return match
            assert time.monotonic() < deadline, f"{pattern}: {self.log()[-2000:]}"
            time.sleep(0.05)

    def stop(self):
        try:
            return self.bridge and self.bridge.stop()
        finally:
            if self.server:
                self.server.kill()


class Versions(threading.Thread):
    """A client of the server's own NBD. It connects again whenever the connection is
    lost, and finds in each block the version that was acknowledged last, or the one
    that was under way."""

    BLOCKS = 512

    def __init__(self, setting, name, way="nbd"):
        super().__init__(daemon=True)
        self._uri = f"nbd+unix:///{name}?socket={setting.socket(way)}"
        self._random = random.Random(RNG.randrange(1 << 32))
        self._stop_event = threading.Event()
        self._possible = {}  # By block, versions that it may have.
        self._version = 0
        self.connections = 0
        self.error = None

    def stop(self):
        self._stop_event.set()
        self.join()
        if self.error:
            raise self.error

    def run(self):
        try:
            while not self._stop_event.is_set():
                with contextlib.suppress(nbd.Error):
                    self._use_one_connection()
            self._check_all(self._connect())
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def _connect(self):
        deadline = time.monotonic() + PATIENCE
        while True:
            handle = nbd.NBD()
            try:
                handle.connect_uri(self._uri)
                self.connections += 1
                return handle
            except nbd.Error:
                assert time.monotonic() < deadline, "cannot connect again"
                time.sleep(0.01)

    def _use_one_connection(self):
        handle = self._connect()
        self._check_all(handle)
        while not self._stop_event.is_set():
            self._write(handle, self._random.randrange(self.BLOCKS))

    def _write(self, handle, block):
        self._version += 1
        version = self._version
        # If this fails, each may be there.
        self._possible.setdefault(block, [0]).append(version)
        handle.pwrite(self._content(block, version), block * BLOCK)
        self._possible[block] = [version]

    def _check_all(self, handle):
        for block, versions in self._possible.items():
            found = handle.pread(BLOCK, block * BLOCK)
            there = [v for v in versions if found == self._content(block, v)]
            assert there, f"block {block} has {found[:32]}, not one of {versions}"
            self._possible[block] = there

    @staticmethod
    def _content(block, version):
        """Some of each kind: patterns, what compresses, what does not."""
        if version == 0:
            return bytes(BLOCK)
        if version % 3 == 0:
            return struct.pack("<Q", version) * (BLOCK // 8)
        if version % 3 == 1:
            return b"%31d\n" % version * (BLOCK // 32)
        return random.Random(version * Versions.BLOCKS + block).randbytes(BLOCK)


class SteadyVersions(Versions):
    """The same over ramvol-nbd, which keeps the connection, so that no write fails and
    each block has the version that was written last."""

    def __init__(self, setting, name):
        super().__init__(setting, name, "bridge")

    def run(self):
        try:
            handle = self._connect()
            while not self._stop_event.is_set():
                for _ in range(100):
                    self._write(handle, self._random.randrange(self.BLOCKS))
                self._check_all(handle)
            assert all(len(there) == 1 for there in self._possible.values())
        except Exception as error:  # pylint: disable=broad-except
            self.error = error


def start_fio(setting, output):
    return subprocess.Popen(
        [
            *("fio", "--name=verify", "--ioengine=nbd"),
            f"--uri=nbd+unix:///disk?socket={setting.socket('bridge')}",
            *("--size=64M", "--rw=randwrite", "--bsrange=512-128k", "--iodepth=16"),
            *("--verify=crc32c", "--verify_fatal=1", "--verify_backlog=500"),
            "--verify_state_save=0",
            *(f"--randseed={RNG.randrange(1 << 15)}", "--rate=5m", "--eta=never"),
            f"--output={output}",
        ]
    )


class Clones:
    """Each round makes a clone and removes another while the server is killed."""

    def __init__(self, setting):
        self._setting = setting
        self._made = 0
        self.content = RNG.randbytes(MIB) + b"golden" * (MIB // 6)
        setting.ramvol("create", "golden", GOLDEN_BYTES)
        setting.ramvol("write", "golden", "0", stdin=self.content)

    def begin(self):
        self._made += 1
        commands = [("clone", "golden", f"clone-{self._made}")]
        commands.append(("snapshot", "create", "golden", f"kept-{self._made}"))
        if self._made > 2:
            commands.append(("rm", f"clone-{self._made - 2}"))
            commands.append(("snapshot", "rm", f"kept-{self._made - 2}"))
        return [(command, self._start(command)) for command in commands]

    def _start(self, command):
        return subprocess.Popen(
            self._setting.command(*command),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, commands):
        """What the server's end has interrupted may have happened."""
        for command, process in commands:
            error = process.communicate(timeout=PATIENCE)[1]
            if process.returncode == 5:
                process = self._start(command)
                error = process.communicate(timeout=PATIENCE)[1]
                happened = 3 if "rm" in command else 4
                assert process.returncode in (0, happened), error
            else:
                assert process.returncode == 0, error
        self.check()

    def check(self):
        volumes = self._setting.volumes()
        for name in ("golden", f"clone-{self._made}", f"@kept-{self._made}"):
            if name in volumes:
                assert volumes[name]["state"] == "VOLUME_STATE_READY", volumes[name]
            found = self._setting.ramvol("read", name, 0, len(self.content))
            assert found == self.content, f"{name} is another one"
        assert f"clone-{self._made - 2}" not in volumes


def verify_across_kills(setting, folder):
    clones = Clones(setting)
    versions = Versions(setting, "direct")
    steady = SteadyVersions(setting, "steady")
    versions.start()
    steady.start()
    while setting.kills < KILLS:
        before = setting.kills
        fio_across_kills(setting, clones, versions, f"{folder}/fio")
        assert setting.kills > before, "fio was over before a kill"
    versions.stop()
    steady.stop()
    assert steady.connections == 1, steady.connections
    print(f"all is there after {setting.kills} kills", flush=True)
    return clones


def fio_across_kills(setting, clones, versions, output):
    fio = start_fio(setting, output)
    while fio.poll() is None:
        commands = clones.begin()
        time.sleep(RNG.uniform(0, 1) ** 3)
        setting.kill_server()
        clones.end(commands)
        # On a busy machine it may not connect again before each kill.
        deadline = time.monotonic() + PATIENCE
        while versions.connections < setting.kills / 2 and not versions.error:
            assert time.monotonic() < deadline, versions.connections
            time.sleep(0.01)
    with open(output) as file:
        report = file.read()
    assert fio.returncode == 0 and "err= 0" in report, report
    print(*re.findall(r".*(?:err=|READ:|WRITE:).*", report), sep="\n")
    print(f"{setting.kills} kills so far", flush=True)


def qemu_goes_on(setting):
    """QEMU connects again by itself, to the server's own NBD."""
    image = (
        f"driver=nbd,server.type=unix,server.path={setting.socket('nbd')},"
        f"export=direct,reconnect-delay={PATIENCE}"
    )
    command = ["qemu-io", "--image-opts", image]
    qemu = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )

    def ask(question, answer):
        qemu.stdin.write(question + "\n")
        qemu.stdin.flush()
        line = ""
        while answer not in line:
            line = qemu.stdout.readline()
            assert line and "failed" not in line, f"{question}: {line}"

    ask("write -P 0x5a 4M 1M", "wrote 1048576")
    for round_number in range(5):
        setting.kill_server()
        ask(f"write -P {round_number + 1} {round_number * 64}k 64k", "wrote 65536")
        ask("read -P 0x5a 4M 1M", "read 1048576")
    setting.kill_server()
    for round_number in range(5):
        ask(f"read -P {round_number + 1} {round_number * 64}k 64k", "read 65536")
    qemu.communicate("quit\n", timeout=PATIENCE)
    assert qemu.returncode == 0, qemu.returncode
    print("QEMU went on across 6 kills", flush=True)


def stop_cleanly(setting, clones):
    """A stop frees nothing, and all is there again."""
    before = setting.volumes()
    assert setting.server.stop() == 0
    setting.start_server()
    assert setting.volumes() == before
    clones.check()
    recovered = setting.logged(r"recovered count=(\d+): .* in .*, 0 damaged")
    assert int(recovered[1]) > len(before), recovered[0]


def refuse_a_second(setting):
    flags = [
        *setting.flags(),
        f"--listen=unix:{setting.socket('other')}",
        "--nbd_listen=",
    ]
    second = subprocess.run(
        [RAMVOLD, *flags], stderr=subprocess.PIPE, text=True, timeout=PATIENCE
    )
    assert second.returncode == 3, second
    assert f"another ramvold uses {setting.state}" in second.stderr, second.stderr


def pages(file):
    """Those that are no holes, with their places."""
    at = 0
    while True:
        try:
            at = os.lseek(file.fileno(), at, os.SEEK_DATA)
        except OSError:
            return
        yield at, os.pread(file.fileno(), BLOCK, at)
        at += BLOCK


def refuse_another_version(setting):
    """It says what to do, and changes nothing; the right version goes on."""
    before = setting.volumes()
    assert setting.server.stop() == 0
    arena = f"{setting.state}/arena"

    def change_version(by):
        with open(arena, "r+b") as file:
            file.seek(8)
            version = struct.unpack("<Q", file.read(8))[0]
            file.seek(8)
            file.write(struct.pack("<Q", version + by))

    def checksum():
        with open(arena, "rb", buffering=0) as file:
            return hash(tuple(pages(file)))

    for by in 1, -1:
        change_version(by)
        found = checksum()
        refused = subprocess.run(
            [RAMVOLD, *setting.flags()],
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
        )
        assert refused.returncode == 3, refused
        assert "left by another version of ramvold" in refused.stderr, refused
        assert f"or move {setting.state} away" in refused.stderr, refused
        assert checksum() == found
        change_version(-by)
    setting.start_server()
    assert setting.volumes() == before


def damage(state, size):
    """Makes the content of volumes of this size unreachable; how many."""
    wanted = struct.pack("<Q", size)
    damaged = 0
    with open(f"{state}/arena", "r+b", buffering=0) as file:
        for at, page in pages(file):
            for place in range(8, 4096, 8):
                root = page[place - 8 : place]
                if page[place : place + 8] == wanted and root != bytes(8):
                    os.pwrite(file.fileno(), struct.pack("<Q", 0x1230), at + place - 8)
                    damaged += 1
    return damaged


def damage_some(setting):
    """What is damaged is named, harms nobody else, and can be deleted."""
    setting.ramvol("write", "direct", "0", stdin=b"whole")
    assert setting.server.stop() == 0
    assert damage(setting.state, GOLDEN_BYTES) > 0
    setting.start_server()
    setting.logged(r"error data_loss volume=golden reason=VOLUME_DAMAGED: ")
    listed = setting.ramvol("ls").decode()
    assert "STATE" in listed and re.search(r"^golden .* damaged", listed, re.M), listed
    assert "State: " in setting.ramvol("show", "golden").decode()
    assert setting.ramvol("read", "direct", "0", "5") == b"whole"
    read = subprocess.run(
        setting.command("read", "golden", "0", "5"), capture_output=True, text=True
    )
    assert read.returncode == 1 and "(VOLUME_DAMAGED)" in read.stderr, read
    for way in "nbd", "bridge":
        try:
            nbd.NBD().connect_uri(f"nbd+unix:///golden?socket={setting.socket(way)}")
            raise AssertionError(f"{way} serves a damaged volume")
        except nbd.Error as error:
            print(f"{way}: {error}", flush=True)
    setting.ramvol("rm", "golden")
    setting.ramvol("create", "golden", "1M")
    setting.kill_server()
    assert setting.volumes()["golden"]["state"] == "VOLUME_STATE_READY"


def delete_all(setting, allocated):
    """What was found again and again is given back as a whole."""
    assert setting.bridge.stop() == 0
    setting.bridge = None
    listed = json.loads(setting.ramvol("snapshot", "ls", "--output=json"))
    for snapshot in listed.get("snapshots", []):
        setting.ramvol("snapshot", "rm", snapshot["name"])
    for name in setting.volumes():
        setting.ramvol("rm", name)
    deadline = time.monotonic() + PATIENCE
    while setting.allocated() != allocated:
        assert time.monotonic() < deadline, (setting.allocated(), allocated)
        time.sleep(0.01)


def check(setting, folder):
    setting.start_server()
    allocated = setting.allocated()
    setting.ramvol("create", "disk", "256M")
    setting.ramvol("create", "direct", "64M")
    setting.ramvol("create", "steady", "64M")
    setting.start_bridge()
    clones = verify_across_kills(setting, folder)
    qemu_goes_on(setting)
    stop_cleanly(setting, clones)
    refuse_a_second(setting)
    refuse_another_version(setting)
    damage_some(setting)
    delete_all(setting, allocated)


def main():
    print(f"STATE_SEED={SEED}", flush=True)
    with contextlib.ExitStack() as stack:
        # Short, because a socket's path may have 107 bytes at most.
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ramvol-state.", dir="/tmp")
        )
        state = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ramvol-state.", dir="/dev/shm")
        )
        setting = Setting(folder, state)
        try:
            check(setting, folder)
        except BaseException:
            if setting.server:
                print(setting.log()[-4000:], flush=True)
            raise
        finally:
            code = setting.stop()
        assert not code, f"the bridge ended with {code}"
    print("all passed")


main()
