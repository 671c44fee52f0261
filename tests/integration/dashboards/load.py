"""Every kind of operation, error and mishap that a panel shows, for a while."""

import random
import subprocess
import threading
import time

import nbd

MIB = 1 << 20
TEXT = b"All work and no play makes Jack a dull boy. " * 1500
NOISE = random.Random(1).randbytes(MIB)

# The first ones have series of their own, so what is looked at comes first.
VOLUMES = ["disk", "remote", "mixed", "tight", "hog", "grpc", "spare-1", "spare-2"]


class Load:
    """Runs until stopped. What a thread did not expect fails the test."""

    def __init__(self, programs, seconds):
        self.programs, self.seconds = programs, seconds
        self.over = threading.Event()
        self.failures = []
        for name in VOLUMES:
            limit = ["--memory-limit=2M"] if name == "tight" else []
            programs.cli("create", name, "512M", *limit)
        self.fios = [
            self._fio("disk", "nbd", "4k", "--rate_iops=1500", "--rw=randrw"),
            self._fio("remote", "bridge", "16k", "--rate_iops=300", "--rw=randrw"),
        ]
        self.threads = [
            threading.Thread(target=self._guard, args=(work,))
            for work in (
                self._every_nbd_command,
                self._fill_a_volume,
                self._every_grpc_method,
                self._fill_the_server,
                self._delete_under_a_client,
                self._break_the_way,
            )
        ]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        for fio in self.fios:
            fio.terminate()
            fio.wait()
        assert not self.failures, self.failures

    def _guard(self, work):
        try:
            work()
        except Exception as error:  # Any, to be raised in the main thread.
            self.failures.append(f"{work.__name__}: {error!r}")

    def _fio(self, volume, way, size, *more):
        """Goes on where the server lacks memory, and ends by itself at last."""
        return subprocess.Popen(
            [
                "fio",
                f"--name={volume}",
                "--ioengine=nbd",
                f"--uri={self.programs.uri(volume, way)}",
                "--size=48M",
                "--iodepth=8",
                f"--bs={size}",
                "--buffer_compress_percentage=60",
                "--time_based",
                f"--runtime={self.seconds * 4}",
                "--continue_on_error=io",
                "--random_distribution=zipf:1.1",
                *more,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _connect(self, volume, *contexts):
        handle = nbd.NBD()
        for context in contexts:
            handle.add_meta_context(context)
        handle.connect_uri(self.programs.uri(volume))
        return handle

    def _every_nbd_command(self):
        handle = self._connect("mixed", nbd.CONTEXT_BASE_ALLOCATION)
        while not self.over.wait(0.01):
            at = random.randrange(64) * MIB
            for command in (
                lambda: handle.pwrite(TEXT, at),
                lambda: handle.zero(65536, at),
                lambda: handle.pread(65536, at),
                lambda: handle.cache(65536, at),
                lambda: handle.block_status(64 * MIB, 0, lambda *_: 0),
                lambda: handle.trim(MIB, (at + 7 * MIB) % (64 * MIB)),
                lambda: handle.flush(),
            ):
                allow_enospc(command)

    def _fill_a_volume(self):
        """Writes that its own limit refuses, and reads that end past it."""
        handle = self._connect("tight")
        while not self.over.wait(0.5):
            for at in range(0, 4 * MIB, len(NOISE)):
                allow_enospc(lambda at=at: handle.pwrite(NOISE, at))
            self.programs.cli("read", "tight", "511M", "2M", check=False)
            handle.trim(4 * MIB, 0)

    def _fill_the_server(self):
        """Until writes have failed for a while; then it gives all back and rests."""
        handle = self._connect("hog")
        while not self.over.is_set():
            refused = 0
            for at in range(0, 480 * MIB, len(NOISE)):
                refused += allow_enospc(lambda: handle.pwrite(NOISE, at))
                if self.over.wait(0.03) or refused == 20:
                    break
            assert refused or self.over.is_set(), "480 MiB of noise fit into 256"
            handle.trim(480 * MIB, 0)
            self.over.wait(self.seconds / 5)

    def _delete_under_a_client(self):
        """Who has the volume open gets EIO."""
        while not self.over.wait(2):
            handle = self._connect("spare-2")
            self.programs.cli("rm", "--force", "spare-2")
            for _ in range(3):
                assert fails_with("EIO", lambda: handle.pread(4096, 0))
            self.programs.cli("create", "spare-2", "512M")

    def _every_grpc_method(self):
        cli, grpcurl = self.programs.cli, self.programs.grpcurl
        at = '{"volume":"grpc","offset":4096,"length":65536}'
        while not self.over.wait(0.2):
            cli("import", "--existing", "-", "grpc", data=TEXT * 20, check=False)
            cli("stat", "grpc")
            cli("ls")
            cli("show", "none", check=False)
            for method in ("Read", "GetExtents", "Trim", "WriteZeroes"):
                grpcurl(f"BlockService/{method}", at, check=False)
            grpcurl("BlockService/Flush", '{"volume":"grpc"}')

    def _break_the_way(self):
        """For two seconds, so that a scrape sees lost streams."""
        self.over.wait(self.seconds / 3)
        self.programs.cut_way()
        time.sleep(2)
        self.programs.mend_way()


def fails_with(name, command):
    """Whether it fails with that error; any other raises."""
    try:
        command()
    except nbd.Error as error:
        if error.errno != name:
            raise
        return True
    return False


def allow_enospc(command):
    return fails_with("ENOSPC", command)
