"""What ramvold says and does as a back end of vhost-user, message by message.

Arguments: the paths of ramvold and ramvol.
"""

import json
import mmap
import os
import re
import shutil
import struct
import tempfile
import time
import urllib.request

import vhost_wire
from vhost_server import GIB, MIB, Case, main, until
from vhost_wire import (
    DISCARD,
    F_DISCARD,
    F_EVENT_IDX,
    F_INDIRECT,
    F_LOG_ALL,
    F_MQ,
    F_RO,
    FLUSH,
    GET_ID,
    IN,
    INDIRECT,
    IOERR,
    NEXT,
    OK,
    OUT,
    UNMAP,
    UNSUPP,
    WRITE,
    WRITE_ZEROES,
    Disk,
    Memory,
)


def bits(*numbers):
    return sum(1 << number for number in numbers)


class Offers(Case):
    def test_features(self):
        disk = self.disk(self.volume())
        wanted = bits(
            *(vhost_wire.F_SEG_MAX, vhost_wire.F_SIZE_MAX, vhost_wire.F_BLK_SIZE),
            *(vhost_wire.F_FLUSH, vhost_wire.F_TOPOLOGY, F_MQ, F_DISCARD),
            *(vhost_wire.F_WRITE_ZEROES, F_INDIRECT, F_EVENT_IDX, F_LOG_ALL),
            *(vhost_wire.F_PROTOCOL, vhost_wire.F_VERSION_1),
        )
        self.assertEqual(wanted & ~disk.offered, 0, hex(disk.offered))
        self.assertFalse(disk.offered >> F_RO & 1)
        protocol = disk.wire.number(vhost_wire.GET_PROTOCOL_FEATURES)
        wanted = bits(
            *(vhost_wire.P_MQ, vhost_wire.P_LOG_SHMFD, vhost_wire.P_REPLY_ACK),
            *(vhost_wire.P_BACKEND_REQ, vhost_wire.P_CONFIG, vhost_wire.P_INFLIGHT),
            *(vhost_wire.P_RESET_DEVICE, vhost_wire.P_MEM_SLOTS, vhost_wire.P_STATUS),
        )
        self.assertEqual(wanted & ~protocol, 0, hex(protocol))
        self.assertGreaterEqual(disk.wire.number(vhost_wire.GET_QUEUE_NUM), 8)

    def test_configuration(self):
        disk = self.disk(self.volume(GIB + 512))
        self.assertEqual(disk.capacity(), GIB + 512)
        config = disk.config()
        (seg_max,) = struct.unpack_from("<I", config, 12)
        (blk_size,) = struct.unpack_from("<I", config, 20)
        (queues,) = struct.unpack_from("<H", config, 34)
        discard_sectors, discard_segments, alignment = struct.unpack_from(
            "<III", config, 36
        )
        zero_sectors, zero_segments = struct.unpack_from("<II", config, 48)
        self.assertGreaterEqual(seg_max, 32)
        self.assertIn(blk_size, (512, 4096))
        self.assertGreaterEqual(queues, 8)
        self.assertGreaterEqual(discard_sectors, MIB // 512)
        self.assertGreaterEqual(discard_segments, 1)
        self.assertLessEqual(alignment, 8)
        self.assertGreaterEqual(zero_sectors, MIB // 512)
        self.assertGreaterEqual(zero_segments, 1)
        self.assertEqual(config[56], 1, "write zeroes may unmap")


class Requests(Case):
    def setUp(self):
        super().setUp()
        self.name = self.volume()
        self.guest = self.disk(self.name, queues=2).start()

    def test_reads_and_writes(self):
        model = bytearray(2 * MIB)
        for _ in range(300):
            length = 512 * self.random.randrange(1, 129)
            offset = 512 * self.random.randrange((len(model) - length) // 512)
            queue = self.random.randrange(2)
            if self.random.randrange(2):
                data = self.random.randbytes(length)
                self.guest.write(offset, data, queue)
                model[offset : offset + length] = data
            else:
                self.assertEqual(
                    self.guest.read(offset, length, queue),
                    model[offset : offset + length],
                )
        self.assertEqual(self.guest.request(FLUSH)[0], OK)
        read = self.server.ramvol("checksum", self.name)
        self.assertTrue(read)

    def test_depth(self):
        ring = self.guest.queues[0]
        blocks = {}
        heads = {}
        while ring.free and len(ring.free) >= 3:
            data = self.random.randbytes(4096)
            head = self.guest.submit(
                OUT, 8 * len(blocks), data, kick=len(ring.free) < 6
            )
            heads[head] = len(blocks)
            blocks[len(blocks)] = data
        ring.kick()
        while heads:
            for head, length in ring.await_used():
                self.assertEqual(length, 1)
                self.assertEqual(self.guest.result(head)[0], OK)
                del heads[head]
        for at, data in blocks.items():
            self.assertEqual(self.guest.read(4096 * at, 4096), data)

    def test_used_lengths(self):
        head = self.guest.submit(IN, 0, length=8192)
        self.assertEqual(self.guest.queues[0].await_used(), [(head, 8193)])

    def test_trims_give_memory_back(self):
        def stored():
            return int(self.server.stat(self.name)["storedBytes"])

        for kind, flags in ((DISCARD, 0), (WRITE_ZEROES, UNMAP)):
            for at in range(16):
                self.guest.write(65536 * at, self.random.randbytes(65536))
            before = stored()
            self.assertEqual(self.guest.range_request(kind, 0, MIB, flags), OK)
            self.assertGreaterEqual(before - stored(), MIB)
            self.assertEqual(self.guest.read(0, 65536), bytes(65536))
        self.guest.write(0, self.random.randbytes(65536))
        self.assertEqual(self.guest.range_request(WRITE_ZEROES, 4096, 8192), OK)
        self.assertEqual(self.guest.read(4096, 8192), bytes(8192))

    def test_serial_number(self):
        status, serial = self.guest.request(GET_ID, length=20)
        self.assertEqual(status, OK)
        self.assertTrue(serial.strip(b"\0"))

    def test_what_is_refused(self):
        end = 64 * MIB // 512
        for kind, sector, data, length, status in (
            (IN, end, b"", 512, IOERR),
            (IN, end - 1, b"", 1024, IOERR),
            (OUT, end - 1, bytes(1024), 0, IOERR),
            (IN, (1 << 64) - 1, b"", 512, IOERR),
            (IN, 1 << 55, b"", 512, IOERR),
            (OUT, 0, bytes(100), 0, IOERR),
            (IN, 0, b"", 100, IOERR),
            (77, 0, b"", 512, UNSUPP),
        ):
            answer = self.guest.request(kind, sector, data, length)[0]
            self.assertEqual(answer, status, (kind, sector, len(data), length))
        for offset, length in ((64 * MIB, 512), (0, 128 * MIB)):
            self.assertEqual(self.guest.range_request(DISCARD, offset, length), IOERR)
        # Unknown flags, as virtio says.
        self.assertEqual(self.guest.range_request(DISCARD, 0, 4096, 1), UNSUPP)
        self.assertEqual(self.guest.range_request(WRITE_ZEROES, 0, 4096, 2), UNSUPP)
        self.assertEqual(self.guest.read(0, 512), bytes(512), "it goes on")


class Layouts(Case):
    """Where headers, data and status lie is the driver's choice."""

    def setUp(self):
        super().setUp()
        self.guest = self.disk(self.volume()).start()
        self.ring = self.guest.queues[0]
        self.place = self.guest.places[0]
        self.content = self.random.randbytes(16384)
        self.guest.write(0, self.content)

    def read_through(self, cuts):
        """Reads with the data cut into pieces of these lengths."""
        memory = self.guest.memory.map
        struct.pack_into("<IIQ", memory, self.place, IN, 0, 0)
        at = self.place + 4096
        parts = [(self.place, 7, False), (self.place + 7, 9, False)]
        for cut in cuts:
            parts.append((at, cut, True))
            at += cut
        # The status is the last byte that is written.
        parts[-1] = (parts[-1][0], parts[-1][1] + 1, True)
        memory[at] = 0xFF
        head = self.ring.add(parts)
        self.ring.publish(head)
        self.ring.kick()
        self.assertEqual(self.ring.await_used(), [(head, sum(cuts) + 1)])
        self.assertEqual(memory[at], OK)
        self.assertEqual(
            memory[self.place + 4096 : at], self.content[: sum(cuts)], cuts
        )

    def test_pieces(self):
        for cuts in ([512], [4096], [1, 511], [100] * 50 + [120], [4096, 8192, 4096]):
            self.read_through(cuts)

    def test_indirect(self):
        memory, guest = self.guest.memory.map, self.guest.memory.guest
        table, header = self.place + 65536, self.place
        pieces = 40
        struct.pack_into("<IIQ", memory, header, IN, 0, 0)
        self.ring.describe(0, guest + header, 16, NEXT, 1, table=table)
        for at in range(pieces):
            self.ring.describe(
                *(at + 1, guest + header + 4096 + 256 * at, 256, WRITE | NEXT, at + 2),
                table=table,
            )
        self.ring.describe(pieces + 1, guest + header + 16, 1, WRITE, table=table)
        slot = self.ring.free.pop()
        self.ring.chains[slot] = [slot]
        self.ring.describe(slot, guest + table, 16 * (pieces + 2), INDIRECT)
        self.ring.publish(slot)
        self.ring.kick()
        self.assertEqual(self.ring.await_used(), [(slot, 256 * pieces + 1)])
        self.assertEqual(memory[header + 16], OK)
        self.assertEqual(
            memory[header + 4096 : header + 4096 + 256 * pieces],
            self.content[: 256 * pieces],
        )

    def test_no_room_for_a_status_or_header(self):
        """Nothing can be said; the device may be broken, the server must not be."""
        head = self.ring.add([(self.place, 16, False)])
        self.ring.publish(head)
        self.ring.kick()
        self.read_elsewhere()

    def read_elsewhere(self):
        other = self.disk(self.volume()).start()
        self.assertEqual(other.read(0, 512), bytes(512))


class Rings(Case):
    def setUp(self):
        super().setUp()
        self.name = self.volume()

    def test_stops_and_goes_on(self):
        guest = self.disk(self.name).start()
        guest.write(0, b"a" * 512)
        for round_ in range(1, 5):
            self.assertEqual(
                guest.stop_queue(guest.queues[0]), guest.queues[0].next_available
            )
            # While it is stopped, nothing is answered.
            head = guest.submit(OUT, round_, bytes([round_]) * 512)
            self.assertEqual(guest.queues[0].take_used(), [])
            guest.start_queue(guest.queues[0], guest.queues[0].next_used)
            guest.queues[0].kick()
            self.assertEqual(guest.queues[0].await_used(), [(head, 1)])
        self.assertEqual(guest.read(512 * 4, 512), bytes([4]) * 512)

    def test_features_and_rings_twice(self):
        """As firmware and then a kernel do."""
        guest = self.disk(self.name).start()
        guest.write(0, b"a" * 512)
        guest.stop_queue(guest.queues[0])
        guest.wire.send(
            vhost_wire.SET_FEATURES,
            struct.pack("<Q", guest.features & ~(1 << F_EVENT_IDX)),
        )
        guest.start(0)
        # A fresh ring.
        guest.stop_queue(guest.queues[0])
        fresh = vhost_wire.Queue(guest.memory, 0, 64, guest.queues[0].table)
        guest.queues[0].close()
        guest.queues[0] = fresh
        guest.start(0)
        self.assertEqual(guest.read(0, 512), b"a" * 512)

    def test_disabled_ring(self):
        guest = self.disk(self.name).start()
        enable = struct.pack("<II", 0, 0)
        self.assertTrue(guest.wire.acknowledged(vhost_wire.SET_VRING_ENABLE, enable))
        guest.submit(IN, 0, length=512)
        guest.queues[0].await_call(0.2)
        self.assertEqual(guest.queues[0].take_used(), [])
        guest.wire.send(vhost_wire.SET_VRING_ENABLE, struct.pack("<II", 0, 1))
        guest.queues[0].kick()
        self.assertEqual(len(guest.queues[0].await_used()), 1)

    def test_calls_only_when_asked(self):
        """EVENT_IDX: the guest asks for a call at its fifth answer."""
        guest = self.disk(self.name).start()
        ring = guest.queues[0]
        guest.read(0, 512)  # The first answer always calls.
        ring.drain_calls()
        start = ring.next_used
        place = ring.available + 4 + 2 * ring.size
        struct.pack_into("<H", guest.memory.map, place, start + 4)
        for at in range(4):
            guest.submit(IN, at, length=512)
            until(lambda at=at: ring.used_index() == start + at + 1, "an answer")
        self.assertFalse(ring.await_call(0.2))
        guest.submit(IN, 5, length=512)
        self.assertTrue(ring.await_call())

    def test_without_event_index(self):
        wanted = Disk.WANTED & ~bits(F_EVENT_IDX, F_INDIRECT)
        guest = self.disk(self.name, wanted=wanted).start()
        guest.write(0, b"b" * 4096)
        self.assertEqual(guest.read(0, 4096), b"b" * 4096)
        # VIRTQ_AVAIL_F_NO_INTERRUPT.
        ring = guest.queues[0]
        struct.pack_into("<H", guest.memory.map, ring.available, 1)
        ring.drain_calls()
        guest.submit(IN, 0, length=512)
        until(lambda: ring.used_index() == ring.next_available, "the answer")
        self.assertFalse(ring.await_call(0.2))

    def test_without_kicks(self):
        """A ring whose KICK has no descriptor is looked at again and again."""
        guest = self.disk(self.name)
        guest.share_memory()
        guest.share_inflight()
        ring = guest.queues[0]
        guest.start_queue(ring)
        guest.stop_queue(ring)
        wire = guest.wire
        wire.send(vhost_wire.SET_VRING_NUM, struct.pack("<II", 0, ring.size))
        wire.send(vhost_wire.SET_VRING_BASE, struct.pack("<II", 0, 0))
        wire.send(vhost_wire.SET_VRING_ADDR, ring.address())
        wire.send(vhost_wire.SET_VRING_CALL, struct.pack("<Q", 0), [ring.call_fd])
        wire.send(vhost_wire.SET_VRING_KICK, struct.pack("<Q", vhost_wire.NO_FD))
        wire.send(vhost_wire.SET_VRING_ENABLE, struct.pack("<II", 0, 1))
        for at in range(20):
            guest.submit(OUT, at, bytes([at]) * 512, kick=False)
            self.assertEqual(len(ring.await_used()), 1)

    def test_reset(self):
        guest = self.disk(self.name).start()
        guest.write(0, b"c" * 512)
        guest.wire.send(vhost_wire.RESET_DEVICE)
        guest.queues[0].close()
        guest.queues[0] = vhost_wire.Queue(guest.memory, 0, 64, guest.queues[0].table)
        guest.wire.send(vhost_wire.SET_FEATURES, struct.pack("<Q", guest.features))
        guest.start(0)
        self.assertEqual(guest.read(0, 512), b"c" * 512)


class MemoryMaps(Case):
    def setUp(self):
        super().setUp()
        self.guest = self.disk(self.volume())

    def region(self, memory):
        return bytes(8) + memory.region()

    def test_slots(self):
        """Memory that comes and goes while the disk is used."""
        guest = self.guest
        protocol = guest.protocol | bits(vhost_wire.P_MEM_SLOTS)
        guest.wire.send(vhost_wire.SET_PROTOCOL_FEATURES, struct.pack("<Q", protocol))
        self.assertGreaterEqual(guest.wire.number(vhost_wire.GET_MAX_MEM_SLOTS), 8)
        guest.share_memory = lambda: self.assertTrue(
            guest.wire.acknowledged(
                vhost_wire.ADD_MEM_REG,
                self.region(guest.memory),
                [guest.memory.fd],
            )
        )
        guest.start()
        guest.write(0, b"d" * 4096)
        for at in range(1, 4):
            extra = Memory(MIB, guest=at << 40, user=at << 36)
            self.assertTrue(
                guest.wire.acknowledged(
                    vhost_wire.ADD_MEM_REG, self.region(extra), [extra.fd]
                )
            )
            self.read_into(extra)
            self.assertEqual(extra.map[:4096], b"d" * 4096)
            self.assertTrue(
                guest.wire.acknowledged(vhost_wire.REM_MEM_REG, self.region(extra))
            )
            extra.close()
        self.assertEqual(guest.read(0, 4096), b"d" * 4096)

    def read_into(self, memory):
        """A read of a block whose data goes to another region."""
        ring, header = self.guest.queues[0], self.guest.places[0]
        struct.pack_into("<IIQ", self.guest.memory.map, header, IN, 0, 0)
        head = ring.add([(header, 16, False), (0, 4096, True), (header + 16, 1, True)])
        ring.describe(
            ring.chains[head][1], memory.guest, 4096, NEXT | WRITE, ring.chains[head][2]
        )
        ring.publish(head)
        ring.kick()
        self.assertEqual(ring.await_used(), [(head, 4097)])
        self.assertEqual(self.guest.memory.map[header + 16], OK)

    def test_several_regions(self):
        guest = self.guest
        other = Memory(MIB, guest=1 << 40, user=1 << 36)
        self.addCleanup(other.close)
        guest.share_memory = lambda: guest.wire.send(
            vhost_wire.SET_MEM_TABLE,
            struct.pack("<II", 2, 0) + guest.memory.region() + other.region(),
            [guest.memory.fd, other.fd],
        )
        guest.start()
        guest.write(0, b"e" * 4096)
        self.read_into(other)
        self.assertEqual(other.map[:4096], b"e" * 4096)

    def test_acknowledgements(self):
        """REPLY_ACK tells of what was refused, before the connection ends."""
        wire = self.guest.wire
        size = struct.pack("<II", 0, 128)
        self.assertTrue(wire.acknowledged(vhost_wire.SET_VRING_NUM, size))
        size = struct.pack("<II", 0, 3)
        self.assertFalse(wire.acknowledged(vhost_wire.SET_VRING_NUM, size))


class DirtyLog(Case):
    def test_pages_that_the_server_wrote(self):
        guest = self.disk(self.volume())
        guest.PROTOCOL = guest.PROTOCOL | bits(vhost_wire.P_LOG_SHMFD)
        guest.wire.close()
        guest.wanted = Disk.WANTED | bits(F_LOG_ALL)
        guest.connect(self.server.path(self.name_of(guest)))
        pages = (guest.memory.guest + guest.memory.size) // 4096
        size = (pages // 8 + 4095) // 4096 * 4096
        log_fd = os.memfd_create("log")
        os.ftruncate(log_fd, size)
        self.addCleanup(os.close, log_fd)
        payload = struct.pack("<QQ", size, 0)
        guest.wire.ask(vhost_wire.SET_LOG_BASE, payload, [log_fd])
        guest.start()
        guest.write(0, b"f" * 8192)
        with mmap.mmap(log_fd, size) as log:
            log[:] = bytes(size)
            slot = guest.queues[0].free[-1]
            guest.read(0, 8192)
            head = guest.places[0] + slot * (4096 + guest.room)
            page = (guest.memory.guest + head) // 4096
            for number in range(page, page + 3):
                self.assertTrue(log[number // 8] >> number % 8 & 1, number - page)

    def name_of(self, _guest):
        return self._name

    def volume(self, size=64 * MIB):
        self._name = super().volume(size)
        return self._name


class Volumes(Case):
    """What happens to volumes, and how their guests hear of it."""

    def test_growth_and_shrinking(self):
        name = self.volume()
        guest = self.disk(name).start()
        changes = guest.listen_to_changes()
        self.addCleanup(changes.close)
        guest.capacity()
        for size in (128 * MIB, 32 * MIB):
            self.server.ramvol("resize", name, size, "--shrink", "--force")
            request, _, _ = struct.unpack("<III", changes.recv(12))
            self.assertEqual(request, vhost_wire.CONFIG_CHANGE)
            self.assertEqual(guest.capacity(), size)
            end = size // 512
            self.assertEqual(guest.request(IN, end - 1, length=512)[0], OK)
            self.assertEqual(guest.request(IN, end, length=512)[0], IOERR)

    def test_snapshot_is_read_only(self):
        name = self.volume()
        guest = self.disk(name).start()
        guest.write(0, b"g" * 4096)
        self.server.ramvol("snapshot", "create", name, name + "-gold")
        guest.write(0, b"h" * 4096)
        gold = f"@{name}-gold"
        until(lambda: os.path.exists(self.server.path(gold)), "the socket")
        snapshot = self.disk(gold).start()
        self.assertTrue(snapshot.offered >> F_RO & 1)
        self.assertEqual(snapshot.read(0, 4096), b"g" * 4096)
        self.assertEqual(snapshot.request(OUT, 0, bytes(512))[0], IOERR)
        self.assertEqual(snapshot.range_request(DISCARD, 0, 4096), IOERR)
        self.assertEqual(snapshot.read(0, 4096), b"g" * 4096)
        self.assertEqual(guest.read(0, 4096), b"h" * 4096)

    def test_read_only_volume(self):
        name = self.volume()
        self.server.ramvol("set", name, "--read-only=true")
        guest = self.disk(name).start()
        self.assertTrue(guest.offered >> F_RO & 1)
        self.assertEqual(guest.request(OUT, 0, bytes(512))[0], IOERR)

    def test_deletion(self):
        name = self.volume()
        guest = self.disk(name).start()
        guest.read(0, 512)
        self.assertEqual(int(self.server.stat(name)["attachedClients"]), 1)
        refused = self.server.ramvol("rm", name, check=False)
        self.assertIn("VOLUME_ATTACHED", refused)
        self.server.ramvol("rm", "--force", name)
        self.assertTrue(guest.wire.is_closed())
        until(lambda: not os.path.exists(self.server.path(name)), "the socket to go")

    def test_clients_are_listed(self):
        name = self.volume()
        guest = self.disk(name).start()
        listed = self.server.ramvol("clients", name)
        self.assertIn("vhost", listed)
        guest.wire.close()
        until(
            lambda: int(self.server.stat(name)["attachedClients"]) == 0,
            "the client to be gone",
        )

    def test_the_status_page_counts_them(self):
        def connected():
            url = re.search(r"http://\S+(?=/metrics)", self.server.ready)[0]
            with urllib.request.urlopen(f"{url}/api/v1/status") as status:
                return json.load(status)["connections"]["vhost_user"]

        until(lambda: connected() == 0, "guests of before to be gone")
        guest = self.disk(self.volume()).start()
        self.assertEqual(connected(), 1)
        guest.wire.close()
        until(lambda: connected() == 0, "the guest to be gone")

    def test_rename(self):
        name = self.volume()
        guest = self.disk(name).start()
        guest.write(0, b"i" * 512)
        new = name + "-new"
        self.server.ramvol("rename", name, new)
        self.addCleanup(self.server.ramvol, "rm", "--force", new, check=False)
        until(lambda: os.path.exists(self.server.path(new)), "the new socket")
        until(lambda: not os.path.exists(self.server.path(name)), "the old to go")
        self.assertEqual(guest.read(0, 512), b"i" * 512)
        guest.wire.close()
        self.assertEqual(self.disk(new).start().read(0, 512), b"i" * 512)

    def test_both_ways_see_the_same(self):
        name = self.volume()
        guest = self.disk(name).start()
        guest.write(4096, b"j" * 4096)
        self.assertEqual(self.server.ramvol("read", name, 4096, 4096), "j" * 4096)


class Rights(Case):
    """With a policy, a machine is who its front end's process is."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
        cls.policy = os.path.join(cls.folder, "policy")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.grant("reader", "writer", "owner")
        cls.FLAGS = (f"--auth_policy={cls.policy}",)
        super().setUpClass()

    @classmethod
    def grant(cls, *roles):
        """Each role on the volumes whose names begin with its own."""
        text = 'grants { identities: "socket:*/grpc" role: ROLE_ADMIN }\n'
        for role in roles:
            text += (
                f'grants {{ identities: "socket:*.sock" volumes: "{role}-*"'
                f" role: ROLE_{role.upper()} }}\n"
            )
        with open(cls.policy + ".new", "w", encoding="ascii") as file:
            file.write(text)
        os.rename(cls.policy + ".new", cls.policy)

    def test_writer(self):
        guest = self.disk(self.volume(kind="writer-")).start()
        self.assertFalse(guest.offered >> F_RO & 1)
        guest.write(0, b"w" * 512)

    def test_reader(self):
        guest = self.disk(self.volume(kind="reader-")).start()
        self.assertTrue(guest.offered >> F_RO & 1)
        self.assertEqual(guest.request(IN, 0, length=512)[0], OK)
        self.assertEqual(guest.request(OUT, 0, bytes(512))[0], IOERR)
        self.assertEqual(guest.range_request(DISCARD, 0, 512), IOERR)

    def test_nobody(self):
        with self.assertRaises(vhost_wire.Closed):
            self.disk(self.volume())

    def test_a_right_that_is_taken_away(self):
        writer = self.disk(self.volume(kind="writer-")).start()
        owner = self.disk(self.volume(kind="owner-")).start()
        owner.write(0, b"o" * 512)
        self.grant("reader", "writer")
        self.assertTrue(owner.wire.is_closed())
        writer.write(0, b"w" * 512)
        until(lambda: "reason=PERMISSION_DENIED" in self.server.log(), "the log")


class Limits(Case):
    def test_operations_wait(self):
        """A bound from below only: a busy machine is slower than the limit."""
        name = self.volume()
        guest = self.disk(name).start()
        self.server.ramvol("set", name, "--iops-total=100", "--iops-total-max=100")
        begin = time.monotonic()
        for at in range(250):
            guest.write(512 * at, b"l" * 512)
        self.assertGreater(time.monotonic() - begin, 1.4)
        self.server.ramvol("set", name, "--iops-total=none", "--iops-total-max=none")
        self.assertEqual(guest.read(0, 512), b"l" * 512)

    def test_a_guest_that_waits_can_go(self):
        name = self.volume()
        guest = self.disk(name).start()
        self.server.ramvol("set", name, "--iops-total=1", "--iops-total-max=1")
        count = 20
        for _ in range(count):
            guest.submit(IN, 0, length=512)
        until(lambda: int(self.server.stat(name).get("throttledNow", 0)), "a wait")
        guest.wire.close()
        until(
            lambda: int(self.server.stat(name)["attachedClients"]) == 0,
            "the guest to be gone",
        )
        # It did not wait for its turns.
        self.assertLess(int(self.server.stat(name)["io"]["readOperations"]), count)


class Speed(Case):
    def test_round_trips(self):
        """A figure to see, not to judge by."""
        guest = self.disk(self.volume()).start()
        guest.write(0, b"k" * 4096)
        count = 2000
        begin = time.monotonic()
        for _ in range(count):
            guest.read(0, 4096)
        took = (time.monotonic() - begin) / count
        print(f"{took * 1e6:.0f} us a read of 4 KiB for a client in Python")


if __name__ == "__main__":
    main()
