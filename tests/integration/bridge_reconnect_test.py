#!/usr/bin/python3
"""ramvol-nbd while its way to ramvold breaks again and again: fio writes and
verifies through it, over a proxy that goes down and up. Then the proxy leaves ramvold
connections that nobody uses any more and that bring old writes late, then it stays
down, and then ramvold is restarted, which loses the volumes.
Arguments: the paths of ramvold, ramvol and ramvol-nbd."""

import contextlib
import errno
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import nbd

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from breakable_proxy import BreakableProxy

RAMVOLD, RAMVOL, BRIDGE = (os.path.realpath(path) for path in sys.argv[1:])
# Far longer than the cuts: the machine may be busy.
RECONNECT_SECONDS = 60
# For what has to fail. It is also all the time there is to come back.
SHORT_RECONNECT_SECONDS = 20
PATIENCE = 120  # Seconds; for a busy machine, not what is normal.
SEED = random.SystemRandom().randrange(1 << 32)
RNG = random.Random(SEED)

WRITERS = 8
BLOCK = 16384
BLOCKS = 4
MIB = 1 << 20


def wait_until(what, holds):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


class Program:
    """A server; returns once it has printed that it is ready."""

    def __init__(self, *command):
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.ready = self._process.stdout.readline()
        assert "ready" in self.ready, self.ready

    def kill(self):
        self._process.kill()
        self._process.wait()

    def stop(self):
        """Asks it to end; its exit code."""
        self._process.terminate()
        return self._process.wait(PATIENCE)


class Setting:
    """ramvold on a Unix socket, the proxy, and ramvol-nbd behind it."""

    def __init__(self, folder):
        self._address = f"{folder}/server"
        self.uri = f"nbd+unix:///disk?socket={folder}/nbd"
        self._folder = folder
        self.proxy = BreakableProxy(self._address)
        self.server = self.bridge = None

    def start(self):
        self.start_server()
        self.create_volume()
        self.proxy.up()
        self.start_bridge(RECONNECT_SECONDS)

    def start_bridge(self, reconnect_seconds):
        self.bridge = Program(
            BRIDGE,
            f"--server=127.0.0.1:{self.proxy.port}",
            f"--listen=unix:{self._folder}/nbd",
            "--metrics_listen=127.0.0.1:0",
            f"--reconnect_timeout={reconnect_seconds}s",
        )
        self._metrics_url = re.search(r"; metrics (\S+)", self.bridge.ready)[1]

    def start_server(self):
        self.server = Program(
            RAMVOLD,
            f"--listen=unix:{self._address}",
            "--metrics_listen=",
            "--memory_limit=512M",
        )

    def ramvol(self, *arguments):
        command = [RAMVOL, f"--server=unix:{self._address}", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def create_volume(self):
        self.ramvol("create", "disk", "256M")

    def restart_server(self):
        """It has no volumes then."""
        self.server.kill()
        self.start_server()

    def connect(self):
        handle = nbd.NBD()
        handle.connect_uri(self.uri)
        return handle

    def metrics(self):
        with urllib.request.urlopen(self._metrics_url, timeout=PATIENCE) as answer:
            return answer.read().decode()

    def metric(self, name):
        return int(re.search(rf"^{name} (\d+)$", self.metrics(), re.M)[1])

    def reconnects(self):
        return self.metric("ramvol_nbd_reconnects_total")

    def lost_streams(self):
        return self.metric("ramvol_nbd_lost_streams")

    def stop(self):
        """The bridge's exit code."""
        try:
            return self.bridge and self.bridge.stop()
        finally:
            self.proxy.down()
            if self.server:
                self.server.kill()


def start_fio(setting, output):
    """Fresh writes, and reads of what was written before, all the time. The rate
    makes them last."""
    return subprocess.Popen(
        [
            *("fio", "--name=verify", "--ioengine=nbd", f"--uri={setting.uri}"),
            *("--size=128M", "--rw=randwrite", "--bsrange=512-128k", "--iodepth=16"),
            *("--verify=crc32c", "--verify_fatal=1", "--verify_backlog=500"),
            "--verify_state_save=0",
            *(f"--randseed={RNG.randrange(1 << 15)}", "--rate=10m", "--eta=never"),
            f"--output={output}",
        ]
    )


def cut_until_the_end(setting, process):
    """Cuts the way every second or so until the process ends; how many cuts the
    bridge came back from."""
    came_back = 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
            return came_back
        before = setting.reconnects()
        setting.proxy.down()
        # Half of the time nothing is sent but what waits in buffers; else the way
        # is back before its absence was noticed.
        time.sleep(RNG.randrange(2) + RNG.uniform(0.1, 0.9))
        setting.proxy.up()
        # There is nothing to cut before.
        wait_until(
            "a reconnection",
            lambda: setting.reconnects() > before or process.poll() is not None,
        )
        came_back += setting.reconnects() > before


def verify_across_cuts(setting, folder):
    output = f"{folder}/fio"
    cuts = 0
    deadline = time.monotonic() + PATIENCE
    while cuts < 5:
        assert time.monotonic() < deadline, f"came back from {cuts} cuts only"
        fio = start_fio(setting, output)
        cuts += cut_until_the_end(setting, fio)
        with open(output) as file:
            report = file.read()
        assert fio.returncode == 0 and "err= 0" in report, report
        print(*re.findall(r".*(?:err=|IO depths|READ:|WRITE:).*", report), sep="\n")
    failed = 'requests_total{command="write",error="eio"}'
    assert failed not in setting.metrics(), "requests failed"
    print(f"fio verified its data across {cuts} cuts")


class Writer(threading.Thread):
    """Writes its blocks again and again; each must hold what came last."""

    def __init__(self, number, handle, stop):
        super().__init__(daemon=True)
        self._begin = (number + 1) * MIB
        self._handle = handle
        self._stop_event = stop
        self._versions = {}
        self.version = 0
        self.error = None

    def run(self):
        try:
            while not self._stop_event.is_set():
                self._write(random.randrange(BLOCKS))
                if self.version % 10 == 0:
                    self._check(random.choice(list(self._versions)))
            for block in self._versions:
                self._check(block)
        except (nbd.Error, AssertionError) as error:
            self.error = error

    def _write(self, block):
        self._versions[block] = self.version + 1
        self._handle.pwrite(self._content(block), self._begin + block * BLOCK)
        self.version += 1

    def _check(self, block):
        found = self._handle.pread(BLOCK, self._begin + block * BLOCK)
        assert found == self._content(block), (
            f"version {self._versions[block]} of a block was replaced by {found[:16]}"
        )

    def _content(self, block):
        return b"%15d\n" % self._versions[block] * (BLOCK // 16)


def write_on(writers):
    """Returns once each has written anew, over the old blocks too, or failed."""
    goals = [(writer, writer.version + 2 * BLOCKS) for writer in writers]
    wait_until(
        "writes",
        lambda: all(writer.version >= goal or writer.error for writer, goal in goals),
    )


def bring_writes_late(setting):
    stop = threading.Event()
    writers = [Writer(i, setting.connect(), stop) for i in range(WRITERS)]
    for writer in writers:
        writer.start()
    late = rounds = 0
    # On a busy machine, nothing may be on its way when the freeze comes.
    while rounds < 8 or late < BLOCK:
        assert rounds < 60, f"only {late} bytes came late"
        write_on(writers)
        setting.proxy.freeze()
        setting.proxy.up()
        write_on(writers)
        late += setting.proxy.thaw()
        rounds += 1
    write_on(writers)
    stop.set()
    for writer in writers:
        writer.join()
    errors = [writer.error for writer in writers if writer.error]
    assert not errors, errors
    print(f"{late} bytes that came late changed nothing")


def expect_eio(what, call, *arguments):
    try:
        call(*arguments)
    except nbd.Error as error:
        assert error.errnum == errno.EIO, f"{what}: {error}"
        return
    raise AssertionError(f"{what} succeeded")


def outlive_the_proxy(setting):
    """A client of the bridge, whose connection went on."""
    assert setting.bridge.stop() == 0
    setting.start_bridge(SHORT_RECONNECT_SECONDS)
    handle = setting.connect()
    handle.pwrite(b"before" * 1000, 12345)
    start = time.monotonic()
    setting.proxy.down()
    expect_eio("write", handle.pwrite, b"lost", 0)
    took = time.monotonic() - start
    print(f"EIO after {took:.1f} s without the proxy")
    assert SHORT_RECONNECT_SECONDS - 1 <= took <= PATIENCE, took
    expect_eio("read", handle.pread, 4096, 0)
    assert setting.lost_streams() > 0
    setting.proxy.up()
    assert handle.pread(6000, 12345) == b"before" * 1000
    handle.pwrite(b"after", 0)
    handle.flush()
    assert handle.pread(5, 0) == b"after"
    wait_until("the streams", lambda: setting.lost_streams() == 0)
    print("the same connection goes on once the proxy is back")
    return handle


def rename_the_volume(setting, handle):
    """It goes on for whoever has it open, also after the connection was lost. The
    other one that has its name then is left alone."""
    setting.ramvol("rename", "disk", "moved")
    handle.pwrite(b"moved", 0)
    setting.create_volume()
    before = setting.reconnects()
    setting.proxy.down()
    setting.proxy.up()
    handle.pwrite(b"again", 5)
    assert handle.pread(10, 0) == b"movedagain"
    assert setting.reconnects() > before
    assert setting.connect().pread(10, 0) == bytes(10)
    setting.ramvol("rm", "disk")
    setting.ramvol("rename", "moved", "disk")
    print("a renamed volume stays the same for a client that reconnects")


def lose_the_volume(setting, handle):
    """A restarted server has no such volume, and then an empty one. A client that
    connected to that."""
    setting.restart_server()
    expect_eio("read of a volume that is gone", handle.pread, 5, 0)
    expect_eio("write to it", handle.pwrite, b"after", 0)
    setting.create_volume()
    for _ in range(3):
        expect_eio("read of a volume that was replaced", handle.pread, 5, 0)
        expect_eio("write to it", handle.pwrite, b"after", 0)
        expect_eio("flush of it", handle.flush)
    again = setting.connect()
    assert again.pread(5, 0) == bytes(5)
    again.pwrite(b"anew", 0)
    assert again.pread(4, 0) == b"anew"
    expect_eio("read over the old connection", handle.pread, 5, 0)
    return again


def lose_the_volume_unseen(setting, handle):
    """The same while the connection knows of it and asks nothing meanwhile."""
    setting.restart_server()
    setting.create_volume()
    expect_eio("flush of a volume that was replaced", handle.flush)
    assert setting.connect().pread(4, 0) == bytes(4)
    print("a restarted server's volumes are errors until the client reconnects")


def check(setting, folder):
    verify_across_cuts(setting, folder)
    bring_writes_late(setting)
    handle = outlive_the_proxy(setting)
    rename_the_volume(setting, handle)
    handle = lose_the_volume(setting, handle)
    lose_the_volume_unseen(setting, handle)


def main():
    print(f"seed {SEED}", flush=True)
    # Short, because a socket's path may have 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="ramvol-bridge.", dir="/tmp") as folder:
        setting = Setting(folder)
        try:
            setting.start()
            check(setting, folder)
        finally:
            code = setting.stop()
        assert code == 0, f"the bridge ended with {code}"
    print("all passed")


main()
