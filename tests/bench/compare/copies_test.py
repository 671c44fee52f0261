import tempfile
import unittest
from unittest import mock

import copies
import plan
from errors import BenchError


class FakeServer:
    """Serves nothing; ends when BLOCK_STATUS may be asked, if it is so."""

    def __init__(self, name, no_extents):
        self.name, self.no_extents = name, no_extents
        self.uri = "uri"
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def alive(self):
        return not self.ended


class FakeFactory:
    def __init__(self, fragile):
        self.fragile = fragile
        self.made = []

    def make(self, name, size, no_extents=False):
        server = FakeServer(name, no_extents)
        self.made.append(server)
        return server


def run(fragile, error_of_living=False):
    """All copies by clients that do nothing; `fragile` ends at the first."""
    factory = FakeFactory(fragile)

    def timed(server, argv):
        if server.name == fragile and not server.no_extents:
            server.ended = not error_of_living
            raise BenchError("lost the server")
        return {"seconds": 2, "cpu_seconds": 1, "command": ""}

    with (
        tempfile.NamedTemporaryFile() as image,
        mock.patch.object(copies, "timed", timed),
        mock.patch.object(copies.loads, "run_client"),
    ):
        copying = copies.Copies(plan.QUICK, factory, image.name, plan.MIB)
        copying.run()
    return copying


class CopiesTest(unittest.TestCase):
    def test_every_server_makes_every_copy_in_every_round(self):
        copying = run(fragile=None)
        self.assertEqual(len(copying.samples), plan.QUICK.copy_rounds * 6 * 6)

    def test_a_peer_that_crashes_runs_again_without_block_status(self):
        copying = run(fragile=plan.NBDKIT_ZSTD)
        zstd = [s for s in copying.samples if s["server"] == plan.NBDKIT_ZSTD]
        self.assertEqual(len(zstd), plan.QUICK.copy_rounds * 6)
        self.assertTrue(any("crashed" in note for note in copying.notes))

    def test_our_own_crash_is_no_figure(self):
        with self.assertRaises(BenchError):
            run(fragile=plan.RAMVOLD)

    def test_a_client_that_failed_alone_is_an_error(self):
        with self.assertRaises(BenchError):
            run(fragile=plan.NBDKIT_ZSTD, error_of_living=True)


if __name__ == "__main__":
    unittest.main()
