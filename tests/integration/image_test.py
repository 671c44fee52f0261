#!/usr/bin/python3
"""save, restore and cp, as they are shipped, and what qemu-img makes of their images
and they of its. Arguments: the paths of ramvold and ramvol, and which qemu-img.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

RAMVOLD, RAMVOL = (os.path.realpath(path) for path in sys.argv[1:3])
QEMU_IMG = sys.argv[3]
PATIENCE = 240
MIB = 1 << 20


def mixture(seed, size):
    """Text, noise, patterns and zeroes, by blocks."""
    rnd = random.Random(seed)
    words = [rnd.randbytes(rnd.randint(2, 9)).hex().encode() for _ in range(500)]
    parts, length = [], 0
    while length < size:
        blocks = rnd.randint(1, 24)
        kind = rnd.random()
        if kind < 0.5:
            text = b" ".join(rnd.choices(words, k=blocks * 600))
            part = text[: blocks * 4096]
        elif kind < 0.65:
            part = rnd.randbytes(blocks * 4096)
        elif kind < 0.75:
            part = rnd.randbytes(8) * (blocks * 512)
        else:
            part = bytes(blocks * 4096)
        parts.append(part)
        length += len(part)
    return b"".join(parts)[:size]


class Server:
    def __init__(self, folder, name):
        self.address = f"unix:{folder}/{name}"
        self.nbd = f"nbd+unix:///{{}}?socket={folder}/{name}.nbd"
        self.process = subprocess.Popen(
            [RAMVOLD, f"--listen={self.address}", "--memory_limit=512M"]
            + [f"--nbd_listen=unix:{folder}/{name}.nbd", "--metrics_listen="],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert b"ready" in self.process.stdout.readline()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0

    def run(self, *words, code=0, **more):
        done = subprocess.run(
            [RAMVOL, f"--server={self.address}", *words],
            capture_output=True,
            timeout=PATIENCE,
            **more,
        )
        assert done.returncode == code, (words, done.returncode, done.stderr)
        return done.stderr.decode() if code else done.stdout

    def show(self, name):
        return json.loads(self.run("show", name, "--output=json"))

    def names(self):
        return self.run("ls", "--output=name").decode().split()

    def content(self, name):
        return self.run("export", name, "-")


def qemu_img(*words, code=0):
    done = subprocess.run([QEMU_IMG, *words], capture_output=True, timeout=PATIENCE)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout


class ImageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        cls.sockets = cls.stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp"))
        cls.server = Server(cls.sockets, "a")
        cls.stack.callback(cls.server.stop)

    @classmethod
    def tearDownClass(cls):
        cls.stack.close()

    def setUp(self):
        folder = tempfile.TemporaryDirectory(dir=os.environ["TEST_TMPDIR"])
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)
        self.addCleanup(self.remove_all)

    def remove_all(self):
        run = self.server.run
        for name in self.server.names():
            run("rm", "--force", name)
        for name in run("snapshot", "ls", "--output=name").decode().split():
            run("snapshot", "rm", name)

    def make(self, name="v", size=9 * MIB + 5000, seed=1, flags=()):
        content = mixture(seed, size)
        with open("content.raw", "wb") as file:
            file.write(content)
        self.server.run("import", "content.raw", name, *flags)
        return content

    def assert_holds(self, name, content):
        # Not assertEqual, which would print them.
        self.assertTrue(self.server.content(name) == content, f"{name} differs")

    def pad(self, content):
        """Files of whole sectors, as qemu-img sees disks."""
        with open("padded.raw", "wb") as file:
            file.write(content + bytes(-len(content) % 512))

    def assert_qemu_agrees(self, image, content):
        self.pad(content)
        qemu_img("check", "-q", image)
        qemu_img("compare", "-q", "-f", "qcow2", "-F", "raw", image, "padded.raw")

    def test_an_image_opens_in_qemu_and_comes_back_with_its_settings(self):
        flags = ["--level=3", "--max-frame=32K", "--label=team=blue"]
        content = self.make(flags=flags)
        told = self.server.run("save", "v", "image.qcow2", "--output=json")
        told = json.loads(told)
        self.assertEqual(told["sizeBytes"], str(len(content)))
        size = os.path.getsize("image.qcow2")
        self.assertEqual(told["imageBytes"], str(size))
        self.assert_qemu_agrees("image.qcow2", content)
        info = json.loads(qemu_img("info", "--output=json", "image.qcow2"))
        data = info["format-specific"]["data"]
        self.assertEqual((data["compat"], data["compression-type"]), ("1.1", "zstd"))
        qemu_img("map", "--output=json", "image.qcow2")
        self.server.run("restore", "image.qcow2", "w")
        self.assert_holds("w", content)
        was, now = self.server.show("v"), self.server.show("w")
        for key in ["sizeBytes", "allocator", "zstdLevel", "mergeZstdLevel"] + [
            "minFrameBytes",
            "maxFrameBytes",
            "labels",
        ]:
            self.assertEqual(was[key], now[key])
        more = ["--size=20M", "--level=5", "--label=env=test", "--read-only"]
        self.server.run("restore", "image.qcow2", "x", *more)
        now = self.server.show("x")
        self.assertEqual(now["sizeBytes"], str(20 * MIB))
        self.assertEqual(now["labels"], {"team": "blue", "env": "test"})
        self.assertEqual((now["zstdLevel"], now["readOnly"]), (5, True))
        self.assert_holds("x", content + bytes(20 * MIB - len(content)))

    def test_images_go_through_pipes(self):
        content = self.make()
        with subprocess.Popen(
            [RAMVOL, f"--server={self.server.address}", "save", "v", "-"],
            stdout=subprocess.PIPE,
        ) as save:
            self.server.run("restore", "-", "w", stdin=save.stdout)
        self.assertEqual(save.returncode, 0)
        self.assert_holds("w", content)

    def test_a_chain_of_increments(self):
        run = self.server.run
        first = self.make(size=20 * MIB)
        run("snapshot", "create", "v", "mon")
        run("save", "@mon", "mon.qcow2")
        run("write", "v", "3000000", stdin=subprocess.DEVNULL)
        for at, text in [(5 * MIB + 7, b"tuesday"), (12 * MIB, b"x" * 70000)]:
            run("write", "v", str(at), input=text)
        run("trim", "v", str(2 * MIB), str(MIB))
        run("snapshot", "create", "v", "tue")
        tuesday = self.server.content("v")
        self.assertNotEqual(first, tuesday)
        run("save", "@tue", "tue.qcow2", "--since=mon")
        self.assertLess(os.path.getsize("tue.qcow2"), 2 * MIB)
        run("write", "v", "77", input=b"wednesday")
        run("resize", "v", "30M")
        run("write", "v", str(29 * MIB), input=b"the end")
        wednesday = self.server.content("v")
        # The name of the file may be any; it must hold that snapshot.
        message = run(
            "save", "v", "wed.qcow2", "--since=tue", "--backing=mon.qcow2", code=1
        )
        self.assertIn("WRONG_BACKING", message)
        run("save", "v", "wed.qcow2", "--since=@tue")
        self.assert_qemu_agrees("mon.qcow2", first)
        self.assert_qemu_agrees("tue.qcow2", tuesday)
        self.assert_qemu_agrees("wed.qcow2", wednesday)
        chain = json.loads(
            qemu_img("info", "--backing-chain", "--output=json", "wed.qcow2")
        )
        self.assertEqual(
            [image["filename"] for image in chain],
            ["wed.qcow2", "tue.qcow2", "mon.qcow2"],
        )
        self.assertEqual(chain[0]["backing-filename-format"], "qcow2")
        run("restore", "wed.qcow2", "w")
        self.assert_holds("w", wednesday)
        os.mkdir("elsewhere")
        for image in ["mon.qcow2", "tue.qcow2", "wed.qcow2"]:
            shutil.copy(image, "elsewhere")
        run("restore", "elsewhere/tue.qcow2", "t")
        self.assert_holds("t", tuesday)
        # What qemu-img changes is read as any other program's image.
        os.chdir("elsewhere")
        qemu_img("rebase", "-f", "qcow2", "-b", "mon.qcow2", "-F", "qcow2", "wed.qcow2")
        self.assert_qemu_agrees("wed.qcow2", wednesday)
        run("restore", "wed.qcow2", "rebased")
        self.assert_holds("rebased", wednesday)
        qemu_img("commit", "-q", "wed.qcow2")
        self.assert_qemu_agrees("mon.qcow2", wednesday)
        # QEMU 7.2 leaves the bit that says nobody changed it.
        message = run("restore", "mon.qcow2", "committed", code=1)
        self.assertIn("--format=qcow2", message)
        run("restore", "mon.qcow2", "committed", "--format=qcow2")
        self.assert_holds("committed", wednesday)
        qemu_img("convert", "-O", "qcow2", "mon.qcow2", "flat.qcow2")
        run("restore", "flat.qcow2", "converted")
        self.assert_holds("converted", wednesday)
        # Not without what it lies on.
        os.remove("mon.qcow2")
        self.assertIn("mon.qcow2", run("restore", "tue.qcow2", "gone", code=1))
        self.assertNotIn("gone", self.server.names())

    def test_images_of_other_programs(self):
        content = mixture(3, 5 * MIB + 512)
        with open("content.raw", "wb") as file:
            file.write(content)
        kinds = [
            [],
            ["-c"],
            ["-o", "compat=0.10"],
            ["-c", "-o", "compat=0.10"],
            ["-c", "-o", "compression_type=zstd"],
            ["-c", "-o", "compression_type=zstd,cluster_size=4096"],
            ["-c", "-o", "compression_type=zstd,cluster_size=2M"],
            ["-c", "-o", "cluster_size=512"],
            ["-o", "cluster_size=1M"],
            ["-o", "preallocation=metadata"],
        ]
        for i, kind in enumerate(kinds):
            with self.subTest(kind=kind):
                qemu_img("convert", *kind, "-O", "qcow2", "content.raw", "image.qcow2")
                self.server.run("restore", "image.qcow2", f"w{i}")
                self.assert_holds(f"w{i}", content)
        self.server.run("restore", "content.raw", "raw")
        self.assert_holds("raw", content)
        with open("sparse.raw", "wb") as file:
            file.seek(3 << 40)
            file.write(b"far away")
        self.server.run("restore", "sparse.raw", "sparse")
        self.assertEqual(
            self.server.run("read", "sparse", str(3 << 40), "8"), b"far away"
        )
        # On a raw file, with clusters of another size.
        qemu_img(
            *["create", "-q", "-f", "qcow2", "-o", "cluster_size=4096"],
            *["-b", "content.raw", "-F", "raw", "top.qcow2", "6M"],
        )
        wanted = bytearray(content + bytes(6 * MIB - len(content)))
        for at, length in [(1000, 3000), (2 * MIB + 4096, 70000), (5767168, 9000)]:
            subprocess.check_output(
                ["qemu-io", "-f", "qcow2", "-c", f"write -P 7 {at} {length}"]
                + ["-c", "write -z 3M 64k", "top.qcow2"]
            )
            wanted[at : at + length] = b"\x07" * length
        wanted[3 * MIB : 3 * MIB + 65536] = bytes(65536)
        self.server.run("restore", "top.qcow2", "top")
        self.assert_holds("top", bytes(wanted))

    def test_what_cannot_be_read_is_refused_and_leaves_nothing(self):
        content = self.make(size=2 * MIB)
        run = self.server.run
        run("save", "v", "good.qcow2")
        before = self.server.names()
        for options in ["extended_l2=on", "data_file=data.raw"]:
            qemu_img("create", "-q", "-f", "qcow2", "-o", options, "bad.qcow2", "1M")
            self.assertIn("FOREIGN_IMAGE", run("restore", "bad.qcow2", "w", code=1))
        with open("good.qcow2", "rb") as file:
            good = file.read()
        cut = good[: len(good) * 2 // 3]
        bent = bytearray(good)
        bent[len(good) // 2] ^= 1
        for name, bad in [("cut", cut), ("bent", bytes(bent)), ("empty", b"QFI\xfb")]:
            with open(f"{name}.qcow2", "wb") as file:
                file.write(bad)
            for words, more in [
                ([f"{name}.qcow2"], {}),
                (["-"], {"input": bad}),
            ]:
                message = run("restore", *words, "w", code=1, **more)
                self.assertIn("DAMAGED_IMAGE", message)
        # A pipe of another program's image, and of no image.
        qemu_img("convert", "-O", "qcow2", "good.qcow2", "other.qcow2")
        with open("other.qcow2", "rb") as file:
            other = file.read()
        for bad in [other, content]:
            message = run("restore", "-", "w", code=1, input=bad)
            self.assertIn("FOREIGN_IMAGE", message)
        qemu_img("create", "-q", "-f", "qcow2", "-b", "other.qcow2", "-F", "qcow2", "x")
        qemu_img("rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "x", "x")
        self.assertIn("DAMAGED_IMAGE", run("restore", "x", "w", code=1))
        self.assertIn("VOLUME_EXISTS", run("restore", "good.qcow2", "v", code=4))
        self.assertEqual(self.server.names(), before)
        # The books balance: nothing hidden is left, once the server has noticed that
        # its clients have gone.
        deadline = time.monotonic() + PATIENCE
        while json.loads(run("server", "--output=json"))["volumes"] != 1:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def test_a_file_changes_only_when_all_is_written(self):
        self.make(size=2 * MIB)
        with open("image.qcow2", "wb") as file:
            file.write(b"before")
        self.server.run("save", "gone", "image.qcow2", code=3)
        with open("image.qcow2", "rb") as file:
            self.assertEqual(file.read(), b"before")
        self.assertEqual(sorted(os.listdir()), ["content.raw", "image.qcow2"])
        self.assertIn("ENOSPC", self.server.run("save", "v", "/dev/full", code=1))
        self.server.run("save", "v", "image.qcow2")
        self.assertEqual(sorted(os.listdir()), ["content.raw", "image.qcow2"])

    def test_clients_that_go_away_leave_nothing(self):
        self.make(size=100 * MIB)
        command = [RAMVOL, f"--server={self.server.address}"]
        # One that stops in the middle of reading.
        save = subprocess.Popen([*command, "save", "v", "-"], stdout=subprocess.PIPE)
        self.assertEqual(len(save.stdout.read(MIB)), MIB)
        save.send_signal(signal.SIGINT)
        save.stdout.close()
        self.assertNotEqual(save.wait(PATIENCE), 0)
        self.server.run("save", "v", "image.qcow2")
        restore = subprocess.Popen(
            [*command, "restore", "-", "w"], stdin=subprocess.PIPE
        )
        with open("image.qcow2", "rb") as file:
            restore.stdin.write(file.read(8 * MIB))
            restore.stdin.flush()
        restore.kill()
        restore.wait(PATIENCE)
        with contextlib.suppress(BrokenPipeError):
            restore.stdin.close()
        # The name is free as soon as the server has noticed.
        deadline = time.monotonic() + PATIENCE
        while self.server.names() != ["v"]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        self.server.run("restore", "image.qcow2", "w")
        self.server.run("cmp", "v", "w")

    def test_copies_between_servers(self):
        content = self.make(flags=["--label=team=blue"])
        other = Server(self.sockets, "b")
        try:
            self.server.run("cp", "v", f"{other.address}!w")
            self.assertTrue(other.content("w") == content)
            self.assertEqual(other.show("w")["labels"], {"team": "blue"})
            self.server.run("snapshot", "create", "v", "s")
            other.run("cp", f"{self.server.address}!@s", "t", "--size=16M")
            self.assertTrue(other.content("t")[: len(content)] == content)
            message = other.run("cp", f"{self.server.address}!gone", "u", code=3)
            self.assertIn("gone", message)
        finally:
            other.stop()
        self.server.run("cp", "v", "clone")
        self.assert_holds("clone", content)

    def test_saving_goes_on_while_the_volume_changes(self):
        content = self.make(size=64 * MIB)
        self.server.run("snapshot", "create", "v", "s")
        uri = self.server.nbd.format("v")
        writer = subprocess.Popen(
            [QEMU_IMG, "bench", "-w", "-f", "raw", "-c", "20000", "-d", "8"]
            + ["-s", "65536", "-S", "73728", uri],
            stdout=subprocess.DEVNULL,
        )
        try:
            for i in range(5):
                self.server.run("save", "@s", f"{i}.qcow2")
                self.server.run("save", "v", "moving.qcow2")
                qemu_img("check", "-q", "moving.qcow2")
                self.server.run("restore", "moving.qcow2", f"w{i}")
        finally:
            writer.kill()
            writer.wait(PATIENCE)
        self.assert_qemu_agrees("0.qcow2", content)
        self.server.run("restore", "4.qcow2", "w")
        self.assert_holds("w", content)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
