#!/usr/bin/python3
"""What ramvold and ramvol-nbd log: an event of each kind that can be caused from
outside. Arguments: the paths of ramvold, ramvol and ramvol-nbd, and unittest's."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import unittest

TIMEOUT_SECONDS = 60


class Program:
    """A daemon whose log goes to a file."""

    def __init__(self, *command):
        self.log_path = tempfile.mkstemp(dir=os.environ.get("TEST_TMPDIR"))[1]
        with open(self.log_path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.ready = self.process.stdout.readline()

    def address(self, what):
        return re.search(r"[:;] " + what + r" ([^,;\s]+)", self.ready).group(1)

    def lines(self):
        with open(self.log_path, encoding="utf-8") as log:
            return log.read().splitlines()

    def events(self):
        return [json.loads(line) for line in self.lines()]

    def wait_for(self, **fields):
        """The first event with these fields."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            for event in self.events():
                if fields.items() <= event.items():
                    return event
            time.sleep(0.02)
        raise AssertionError(f"no event with {fields} in:\n" + "\n".join(self.lines()))

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def ramvol(server, *arguments, **options):
    return subprocess.run(
        [RAMVOL, "--server=" + server.address("grpc"), *arguments],
        check=False,
        capture_output=True,
        **options,
    )


class LogTest(unittest.TestCase):
    def start(self, program, *flags):
        started = Program(program, *flags)
        self.addCleanup(started.stop)
        return started

    def serve(self, *flags):
        return self.start(
            RAMVOLD,
            "--listen=127.0.0.1:0",
            "--nbd_listen=127.0.0.1:0",
            "--metrics_listen=127.0.0.1:0",
            "--memory_limit=64M",
            *flags,
        )

    def test_what_happens_to_a_volume(self):
        server = self.serve("--log_format=json")
        ramvol(server, "create", "disk", "1M")
        created = server.wait_for(event="volume_created", volume="disk", level="info")
        self.assertRegex(created["client"], r"^127\.0\.0\.1:\d+$")
        self.assertEqual(created["message"], "1M, ZSTD")
        self.assertRegex(created["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(created["program"], "ramvold")

        ramvol(server, "set", "disk", "--read-only=true")
        changed = server.wait_for(event="volume_changed", volume="disk")
        self.assertIn("read_only", changed["message"])
        ramvol(server, "rm", "disk")
        deleted = server.wait_for(event="volume_deleted", volume="disk")
        self.assertIn("attached clients: 0", deleted["message"])

    def test_who_attaches(self):
        server = self.serve("--log_format=json")
        ramvol(server, "create", "disk", "1M")
        subprocess.run(
            ["nbdinfo", "--map", f"nbd://{server.address('nbd')}/disk"], check=True
        )
        attached = server.wait_for(event="attached", volume="disk", over="nbd")
        server.wait_for(event="detached", client=attached["client"], over="nbd")
        ramvol(server, "read", "disk", "0", "10")
        server.wait_for(event="attached", volume="disk", over="io")
        server.wait_for(event="detached", volume="disk", over="io")

    def test_no_space_once_for_each_volume_and_reason(self):
        server = self.serve("--log_format=json")
        begin = time.monotonic()
        ramvol(server, "create", "small", "100M", "--memory-limit=1M")
        ramvol(server, "create", "large", "100M")
        for _ in range(5):
            data = os.urandom(2 << 20)
            ramvol(server, "write", "small", "0", input=data)
        ramvol(server, "write", "large", "0", input=os.urandom(80 << 20))
        ramvol(server, "create", "reserved", "100M", "--allocator=malloc")
        own = server.wait_for(
            event="no_space", volume="small", reason="VOLUME_MEMORY_LIMIT"
        )
        self.assertEqual(own["level"], "warning")
        self.assertIn("does not fit", own["message"])
        for volume in ("large", "reserved"):
            server.wait_for(
                event="no_space", volume=volume, reason="SERVER_MEMORY_LIMIT"
            )
        of_small = [
            event
            for event in server.events()
            if event["event"] == "no_space" and event["volume"] == "small"
        ]
        # They are told again after 10 s.
        self.assertLessEqual(len(of_small), 1 + (time.monotonic() - begin) // 10)
        server.process.terminate()
        server.process.wait()
        left_out = [
            event["count"]
            for event in server.events()
            if event["event"] == "left_out" and event["reason"] == "no_space"
        ]
        self.assertGreaterEqual(sum(left_out), 5 - len(of_small))

    def test_strangers(self):
        server = self.serve("--log_format=json")
        for protocol in ("grpc", "metrics"):
            address = server.address(protocol).removeprefix("http://")
            host, port = address.removesuffix("/metrics").rsplit(":", 1)
            with socket.create_connection((host, int(port))) as stranger:
                stranger.sendall(b"\x00\x01\x02\x03")
                name = "{}:{}".format(*stranger.getsockname())
                refused = server.wait_for(event="connection_refused", client=name)
            self.assertEqual(refused["reason"], "bad_start")
            self.assertEqual(
                refused["over"], {"metrics": "http"}.get(protocol, protocol)
            )
            self.assertEqual(refused["level"], "warning")

    def test_clients_that_nbd_tells_nothing(self):
        server = self.serve("--log_format=json")
        uri = f"nbd://{server.address('nbd')}/"
        subprocess.run(["nbdinfo", uri + "nobody"], check=False, capture_output=True)
        refused = server.wait_for(
            event="connection_refused", over="nbd", reason="VOLUME_NOT_FOUND"
        )
        self.assertIn('"nobody"', refused["message"])
        ramvol(server, "create", "disk", "1M")
        host, port = server.address("nbd").rsplit(":", 1)
        with socket.create_connection((host, int(port))) as client:
            client.recv(18, socket.MSG_WAITALL)
            client.sendall(b"\0\0\0\3IHAVEOPT\0\0\0\1\0\0\0\4disk")
            client.recv(10, socket.MSG_WAITALL)
            client.sendall(b"x" * 28)
            self.assertEqual(client.recv(1), b"")
        ended = server.wait_for(event="connection_ended", volume="disk", over="nbd")
        self.assertEqual(ended["reason"], "BAD_REQUEST")

    def test_a_bridge_tells_when_its_server_goes(self):
        server = self.serve("--log_format=json")
        ramvol(server, "create", "disk", "1M")
        bridge = self.start(
            BRIDGE,
            "--server=" + server.address("grpc"),
            "--listen=127.0.0.1:0",
            "--reconnect_timeout=0",
            "--log_format=json",
        )
        uri = f"nbd://{bridge.address('nbd')}/disk"
        subprocess.run(["nbdinfo", "--map", uri], check=True, capture_output=True)
        attached = bridge.wait_for(event="attached", volume="disk", over="nbd")
        bridge.wait_for(event="detached", client=attached["client"])
        server.process.terminate()
        server.process.wait()
        subprocess.run(["nbdinfo", uri], check=False, capture_output=True)
        failing = bridge.wait_for(event="requests_fail", level="warning")
        self.assertIn("cannot", failing["message"])

    def test_text_and_levels(self):
        server = self.serve("--log_level=warning")
        ramvol(server, "create", "disk", "10M", "--memory-limit=1")
        ramvol(server, "write", "disk", "0", input=b"content")
        server.stop()
        # An empty volume is near this limit, too.
        lines = [line for line in server.lines() if " memory_low " not in line]
        self.assertEqual(len(lines), 1, server.lines())
        self.assertRegex(
            lines[0],
            r"^\S+Z ramvold: warning no_space volume=disk "
            r"reason=VOLUME_MEMORY_LIMIT: write of 7 bytes .* does not fit",
        )

    def test_wrong_flags(self):
        for program in (RAMVOLD, BRIDGE):
            for flag in ("--log_format=xml", "--log_level=loud"):
                done = subprocess.run(
                    [program, flag], check=False, capture_output=True, text=True
                )
                self.assertEqual(done.returncode, 1)
                self.assertIn(flag.split("=")[0] + ' is "', done.stderr)


if __name__ == "__main__":
    RAMVOLD, RAMVOL, BRIDGE = (os.path.realpath(path) for path in sys.argv[1:4])
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
