"""Clients of gRPC, Io, NBD and ramvol-nbd that limits hold up.

Arguments: the paths of ramvold, ramvol-nbd, ramvol and protoc, of the folder with
the protos, of the one with google/rpc's, and unittest's. What is too fast fails,
by the clients' own clock; what is slow is given more time.
"""

import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import grpc

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import nbd_wire
from python_client_test import Stub, error_reason, load_protos

RAMVOLD, RAMVOL_NBD, RAMVOL, PROTOC, PROTOS, GOOGLEAPIS = (
    os.path.abspath(sys.argv.pop(1)) for _ in range(6)
)
# It is there until the test ends: error_reason imports from it, too.
PROTO_OUT = tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR"))
load_protos(PROTOC, [PROTOS, GOOGLEAPIS, "/usr/include"], PROTO_OUT.name)
from ramvol.v1 import block_service_pb2 as block_pb
from ramvol.v1 import volume_service_pb2 as volume_pb

PATIENCE = 120  # Seconds; for a busy machine, not what is normal.
MEASURED = 2  # Seconds.
SIZE = 64 << 20


class Io:
    """A stream that keeps operations under way. One thread's."""

    def __init__(self, channel, volume="disk"):
        self.requests = queue.Queue()
        self.send(volume=volume)
        call = channel.stream_stream(
            "/ramvol.v1.BlockService/Io",
            request_serializer=block_pb.IoRequest.SerializeToString,
            response_deserializer=block_pb.IoResponse.FromString,
        )
        self.responses = call(iter(self.requests.get, None), timeout=PATIENCE)
        self.results = []
        self.last_id = 0
        assert next(self.responses).HasField("opened")

    def send(self, **fields):
        self.requests.put(block_pb.IoRequest(**fields))

    def start(self, count=1, **operation):
        operations = []
        for _ in range(count):
            self.last_id += 1
            operations.append(block_pb.IoOperation(id=self.last_id, **operation))
        self.send(operations=operations)

    def result(self):
        while not self.results:
            self.results = list(next(self.responses).results)
        return self.results.pop(0)

    def close(self):
        self.requests.put(None)


READ = {"read": block_pb.IoRead(length=4096)}
# After one READ, the next waits for more than an hour.
SLOW = {"bps_total": 1}


def read_by_io(channel, depth, length, until):
    stream = Io(channel)
    read = {"read": block_pb.IoRead(length=length)}
    stream.start(depth, **read)
    done = 0
    while time.monotonic() < until():
        assert not stream.result().HasField("error")
        done += 1
        stream.start(1, **read)
    stream.responses.cancel()
    return done


def read_by_nbd(address, depth, length, until):
    with nbd_wire.Wire(address) as wire:
        wire.use_structured()
        wire.go("disk")
        for _ in range(depth):
            wire.send_request(nbd_wire.CMD_READ, 0, length)
        done = 0
        while time.monotonic() < until():
            assert wire.receive_reply().error == 0
            done += 1
            wire.send_request(nbd_wire.CMD_READ, 0, length)
    return done


def read_by_calls(channel, depth, length, until):
    read = Stub(channel, "BlockService", block_pb).Read
    counts = []

    def one():
        done = 0
        while time.monotonic() < until():
            assert len(read(volume="disk", length=length).data) == length
            done += 1
        counts.append(done)

    threads = [threading.Thread(target=one) for _ in range(depth)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == depth
    return sum(counts)


class LimitsTest(unittest.TestCase):
    def setUp(self):
        # A socket's path may have 107 bytes at most.
        self.work = self.enterContext(tempfile.TemporaryDirectory(dir="/tmp"))

    def start(self, *flags, policy=None):
        self.socket = os.path.join(self.work, "grpc")
        self.nbd = os.path.join(self.work, "nbd")
        flags = [
            *(f"--listen=unix:{self.socket}", "--metrics_listen=127.0.0.1:0"),
            *(f"--nbd_listen=unix:{self.nbd}", "--memory_limit=256M", *flags),
        ]
        self.server = subprocess.Popen([RAMVOLD, *flags], stdout=subprocess.PIPE)
        self.addCleanup(self.stop)
        ready = self.server.stdout.readline().decode()
        assert "ready" in ready, ready
        self.metrics = re.search(r"(http:\S+)", ready).group(1)
        self.channel = grpc.insecure_channel("unix:" + self.socket)
        self.volumes = Stub(self.channel, "VolumeService", volume_pb)
        self.blocks = Stub(self.channel, "BlockService", block_pb)

    def stop(self):
        if self.server.poll() is None:
            self.channel.close()
            self.server.terminate()
            self.assertEqual(self.server.wait(PATIENCE), 0)
        self.server.stdout.close()

    def create(self, name="disk", **limits):
        self.volumes.CreateVolume(
            name=name, size_bytes=SIZE, limits=volume_pb.UsageLimits(**limits)
        )

    def limit(self, name="disk", **limits):
        return self.volumes.UpdateVolume(
            name=name,
            volume=volume_pb.Volume(limits=volume_pb.UsageLimits(**limits)),
            update_mask={"paths": ["limits"]},
        ).volume

    def stats(self, name="disk"):
        return self.volumes.StatVolume(name=name).stats

    def wait_for(self, what):
        deadline = time.monotonic() + PATIENCE
        while not what():
            self.assertLess(time.monotonic(), deadline, "this never happens")
            time.sleep(0.02)

    def measure(self, rate, burst, length, *readers, enough=lambda counts: True):
        """Runs all readers at once: what they have done is the rate. A slow machine
        gets longer until they have done `enough`, and some work at all."""
        deadline = time.monotonic() + PATIENCE
        seconds = MEASURED
        while True:
            counts = self.measure_once(seconds, rate, burst, length, readers)
            if sum(counts) * length >= rate * seconds / 4 and enough(counts):
                return
            self.assertLess(time.monotonic(), deadline, counts)
            seconds *= 2

    def measure_once(self, seconds, rate, burst, length, readers):
        begin = time.monotonic()
        counts = []
        threads = [
            threading.Thread(
                target=lambda read=read: counts.append(read(lambda: begin + seconds))
            )
            for read in readers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - begin
        self.assertEqual(len(counts), len(readers))
        units = sum(counts) * length
        print(f"{self.id()}: {units / took:.0f} a second of {rate}, {counts}")
        self.assertLessEqual(units, burst + rate * took + length)
        return counts

    def by_io(self, until, length=4096):
        return read_by_io(self.channel, 32, length, until)

    def by_nbd(self, until, length=4096):
        return read_by_nbd(self.nbd, 16, length, until)

    def by_calls(self, until, length=4096):
        return read_by_calls(self.channel, 4, length, until)

    def test_rate_of_each_way_in(self):
        self.start()
        self.create(iops_total=300)

        def throttled(counts):
            return self.stats().io.throttled_operations > before + 100

        for reader in (self.by_calls, self.by_io, self.by_nbd):
            before = self.stats().io.throttled_operations
            self.measure(300, 30, 1, reader, enough=throttled)

    def test_all_share_a_rate(self):
        self.start()
        self.create(iops_total=300)
        self.measure(
            *(300, 30, 1, self.by_io, self.by_nbd, self.by_nbd),
            enough=lambda counts: min(counts) > max(counts) / 4,
        )

    def test_bytes(self):
        self.start("--volume_bps_total=16M")
        self.create()
        length = 256 << 10
        for reader in (self.by_calls, self.by_io, self.by_nbd):
            self.measure(
                16 << 20, 2 << 20, length, lambda until, r=reader: r(until, length)
            )
        self.assertEqual(self.stats().limits.bps_total, 16 << 20)

    def test_ramvol_nbd(self):
        self.start()
        self.create(iops_total=300)
        socket = os.path.join(self.work, "bridge")
        bridge = subprocess.Popen(
            [
                *(RAMVOL_NBD, f"--server=unix:{self.socket}"),
                f"--listen=unix:{socket}",
            ],
            stdout=subprocess.PIPE,
        )
        try:
            assert b"ready" in bridge.stdout.readline()
            self.measure(300, 30, 1, lambda until: read_by_nbd(socket, 16, 4096, until))
        finally:
            bridge.terminate()
            bridge.wait()
            bridge.stdout.close()

    def test_writes_and_zeroes(self):
        self.start()
        self.create(iops_total=300)

        def write(until):
            with nbd_wire.Wire(self.nbd) as wire:
                wire.use_structured()
                wire.go("disk")
                done = 0
                while time.monotonic() < until():
                    if done % 2 == 0:
                        wire.write(done * 4096, b"%4096d" % done)
                    else:
                        reply = wire.request(
                            nbd_wire.CMD_WRITE_ZEROES, done * 4096, 4096
                        )
                        assert reply.error == 0
                    done += 1
            return done

        self.measure(300, 30, 1, write)

    def hold_up(self, stream):
        """Has 20 reads wait for longer than the test lasts, at SLOW."""
        stream.start(21, **READ)
        stream.result()
        self.wait_for(lambda: self.stats().throttled_now == 20)

    def test_a_limit_changes_while_operations_wait(self):
        self.start()
        self.create(**SLOW)
        stream = Io(self.channel)
        self.hold_up(stream)
        self.limit(bps_total=1 << 40)
        for _ in range(20):
            self.assertFalse(stream.result().HasField("error"))
        self.limit(**SLOW)
        self.hold_up(stream)
        self.assertFalse(self.limit(bps_total=-1).limits.bps_total > 0)
        for _ in range(20):
            self.assertFalse(stream.result().HasField("error"))
        self.wait_for(lambda: self.stats().throttled_now == 0)

    def test_what_never_waits(self):
        self.start()
        self.create(**SLOW)
        stream = Io(self.channel)
        self.hold_up(stream)
        stream.start(1, trim=block_pb.IoTrim(length=4096))
        trim = stream.last_id
        stream.start(1, flush=block_pb.IoFlush())
        stream.start(1, get_extents=block_pb.IoGetExtents())
        answered = set()
        while not answered >= {trim, trim + 1, trim + 2}:
            result = stream.result()
            self.assertFalse(result.HasField("error"))
            answered.add(result.id)
        self.blocks.Trim(volume="disk", length=4096)
        self.blocks.Flush(volume="disk")
        with nbd_wire.Wire(self.nbd) as wire:
            wire.use_structured()
            wire.go("disk")
            for _ in range(20):
                wire.send_request(nbd_wire.CMD_READ, 0, 4096)
            wanted = {
                wire.send_request(nbd_wire.CMD_TRIM, 0, 4096),
                wire.send_request(nbd_wire.CMD_FLUSH),
            }
            while wanted:
                wanted.discard(wire.receive_reply().cookie)
        self.volumes.DeleteVolume(name="disk", force=True)
        errors = [stream.result().HasField("error") for _ in range(10)]
        self.assertIn(True, errors)

    def test_a_client_vanishes(self):
        self.start()
        self.create(**SLOW)
        with nbd_wire.Wire(self.nbd) as wire:
            wire.use_structured()
            wire.go("disk")
            for _ in range(30):
                wire.send_request(nbd_wire.CMD_READ, 0, 4096)
            self.wait_for(lambda: self.stats().throttled_now == 29)
        self.wait_for(lambda: self.stats().throttled_now == 0)
        stream = Io(self.channel)
        stream.start(30, **READ)
        self.wait_for(lambda: self.stats().throttled_now == 30)
        stream.responses.cancel()
        self.wait_for(lambda: self.stats().throttled_now == 0)
        self.wait_for(lambda: self.stats().attached_clients == 0)

    def test_a_deadline_holds(self):
        self.start()
        self.create(iops_total=1)
        read = self.channel.unary_unary(
            "/ramvol.v1.BlockService/Read",
            request_serializer=block_pb.ReadRequest.SerializeToString,
            response_deserializer=block_pb.ReadResponse.FromString,
        )
        calls = [
            read.future(block_pb.ReadRequest(volume="disk", length=1), timeout=0.5)
            for _ in range(20)
        ]
        late = [call.exception(PATIENCE) for call in calls]
        self.assertGreaterEqual(sum(error is not None for error in late), 15)
        self.wait_for(lambda: self.stats().throttled_now == 0)
        # The connection still works.
        self.blocks.Read(volume="disk", length=1)

    def test_other_volumes_are_not_held_up(self):
        self.start()
        self.create(**SLOW)
        self.create(name="other")
        self.hold_up(Io(self.channel))
        stream = Io(self.channel, "other")
        for _ in range(1000):
            stream.start(1, **READ)
            self.assertFalse(stream.result().HasField("error"))
        for _ in range(100):
            self.blocks.Read(volume="other", length=4096)

    def test_a_server_that_stops_answers_what_waits(self):
        self.start()
        self.create(**SLOW)
        stream = Io(self.channel)
        self.hold_up(stream)
        with nbd_wire.Wire(self.nbd) as wire:
            wire.use_structured()
            wire.go("disk")
            for _ in range(20):
                wire.send_request(nbd_wire.CMD_READ, 0, 4096)
            self.wait_for(lambda: self.stats().throttled_now == 40)
            self.server.send_signal(signal.SIGTERM)
            for _ in range(20):
                self.assertFalse(stream.result().HasField("error"))
            for _ in range(20):
                self.assertEqual(wire.receive_reply().error, 0)
        self.assertEqual(self.server.wait(PATIENCE), 0)

    def has_room_for_a_stream(self):
        try:
            Io(self.channel)
        except grpc.RpcError as error:
            self.assertEqual(error_reason(error), "TOO_MANY_STREAMS")
            return False
        return True

    def test_streams_and_connections(self):
        self.start()
        self.create(io_streams=2, nbd_connections=1)
        streams = [Io(self.channel) for _ in range(2)]
        with self.assertRaises(grpc.RpcError) as refused:
            Io(self.channel)
        self.assertEqual(refused.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(error_reason(refused.exception), "TOO_MANY_STREAMS")
        streams[0].responses.cancel()
        self.wait_for(lambda: self.stats().attached_clients == 1)
        self.wait_for(self.has_room_for_a_stream)
        with nbd_wire.Wire(self.nbd) as first, nbd_wire.Wire(self.nbd) as second:
            first.go("disk")
            with self.assertRaises(AssertionError):
                second.go("disk")
            # A larger limit holds at once.
            self.limit(nbd_connections=2)
            second.go("disk")

    def test_bad_limits_are_refused(self):
        self.start()
        for limits in (
            {"iops_total": -2},
            {"iops_total": 10, "iops_total_max": 9},
            {"bps_total": 10, "bps_total_max": 9},
        ):
            with self.assertRaises(grpc.RpcError) as refused:
                self.create(**limits)
            code = refused.exception.code()
            self.assertEqual(code, grpc.StatusCode.INVALID_ARGUMENT)
        self.create(iops_total=10, iops_total_max=20)
        with self.assertRaises(grpc.RpcError):
            self.volumes.UpdateVolume(
                name="disk",
                volume=volume_pb.Volume(limits=volume_pb.UsageLimits(iops_total=21)),
                update_mask={"paths": ["limits.iops_total"]},
            )
        self.assertEqual(self.stats().limits.iops_total, 10)

    def ramvol(self, *arguments):
        return subprocess.run(
            [RAMVOL, f"--server=unix:{self.socket}", *arguments],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def test_command_line(self):
        self.start("--volume_iops_total=500", "--volume_nbd_connections=3")
        self.ramvol(
            *("create", "disk", "64M", "--iops-total=100", "--bps-total=1M"),
            "--nbd-connections=none",
        )
        shown = self.ramvol("show", "disk")
        self.assertIn("100 operations/s, 1 MiB of data/s", shown)
        limits = self.stats().limits
        self.assertEqual((limits.iops_total, limits.bps_total), (100, 1 << 20))
        self.assertEqual(limits.nbd_connections, 0)
        self.ramvol(
            *("set", "disk", "--iops-total=default", "--iops-total-max=1000"),
            "--nbd-connections=default",
        )
        limits = self.stats().limits
        self.assertEqual((limits.iops_total, limits.iops_total_max), (500, 1000))
        self.assertEqual((limits.bps_total, limits.nbd_connections), (1 << 20, 3))
        self.assertIn("500 operations/s", self.ramvol("stat", "disk"))
        image = os.path.join(self.work, "image.qcow2")
        self.ramvol("save", "disk", image)
        self.ramvol("restore", image, "again")
        self.assertEqual(self.stats("again").limits.bps_total, 1 << 20)

    def limits_outlive(self, *flags):
        self.start(*flags)
        self.create(iops_total=7, io_streams=3)
        self.limit(iops_total=9, nbd_connections=2)
        self.stop()
        self.start(*flags)
        limits = self.volumes.GetVolume(name="disk").volume.limits
        self.assertEqual((limits.iops_total, limits.nbd_connections), (9, 2))
        self.assertEqual(self.stats().limits, limits)
        self.stop()

    def test_limits_are_in_a_save_dir(self):
        with tempfile.TemporaryDirectory() as folder:
            self.limits_outlive(f"--save_dir={folder}")

    def test_limits_are_in_a_state_dir(self):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            self.limits_outlive(f"--state_dir={folder}/state")

    def opened(self, name):
        """A connection to it. The places of those before come back a little later
        than their attachments."""
        wires = []

        def opens():
            wires.append(nbd_wire.Wire(self.nbd))
            try:
                wires[-1].go(name)
            except AssertionError:
                wires[-1].close()
                return False
            return True

        self.wait_for(opens)
        return wires[-1]

    def write_policy(self, path, limits):
        with open(path + ".new", "w") as file:
            file.write('grants { identities: "anonymous" role: ROLE_ADMIN }\n')
            file.write(f'limits {{ identities: "unix:*" limits {{ {limits} }} }}\n')
        os.rename(path + ".new", path)

    def test_limits_of_an_identity(self):
        policy = os.path.join(self.work, "policy")
        self.write_policy(policy, "iops_total: 300 nbd_connections: 2")
        self.start(f"--auth_policy={policy}")
        self.create()
        self.create(name="other")
        for reader in (self.by_calls, self.by_io, self.by_nbd):
            self.measure(300, 30, 1, reader)
        self.measure(300, 30, 1, self.by_io, self.by_nbd)
        self.wait_for(lambda: self.stats().attached_clients == 0)
        with self.opened("disk"), self.opened("other"):
            with nbd_wire.Wire(self.nbd) as third:
                with self.assertRaises(AssertionError):
                    third.go("disk")
        # It changes while operations wait.
        self.write_policy(policy, "bps_total: 1")
        stream = Io(self.channel)

        def waits():
            # Until the server has read the policy, they are answered.
            stream.start(1, **READ)
            return self.identity_waits() > 1

        self.wait_for(waits)
        self.write_policy(policy, "iops_total: 100000")
        for _ in range(stream.last_id):
            self.assertFalse(stream.result().HasField("error"))
        self.wait_for(lambda: self.identity_waits() == 0)

    def identity_waits(self):
        import urllib.request

        with urllib.request.urlopen(self.metrics, timeout=PATIENCE) as page:
            text = page.read().decode()
        found = re.search(r"ramvol_identity_throttled_now\{[^}]*\} (\d+)", text)
        return int(found.group(1)) if found else 0


if __name__ == "__main__":
    unittest.main(verbosity=2)
