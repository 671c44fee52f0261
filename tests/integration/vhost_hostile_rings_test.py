"""Guests whose rings are wrong, or change under the server's eyes (vhost_hostile.py).
Arguments: the paths of ramvold and ramvol."""

import contextlib
import os
import struct
import threading
import time

import vhost_wire
from vhost_hostile import ENDS, SECONDS, U16, U32, U64, HostileCase
from vhost_server import MIB, main
from vhost_wire import (
    DISCARD,
    GET_ID,
    IN,
    INDIRECT,
    NEXT,
    OUT,
    WRITE,
    WRITE_ZEROES,
    Disk,
    Memory,
)


class Rings(HostileCase):
    def test_shapes(self):
        for size in (0, 1, 3, 32768, 65535):
            with self.attack() as guest:
                guest.queues[0].size = size
                guest.start()
                guest.queues[0].kick()
                self.settle(guest, 0.02)

    def test_addresses(self):
        memory = Memory(4096)
        memory.close()
        places = (0, 1, U64, U64 - 64, memory.user, memory.user - 1, 1 << 47)
        for which in range(3):
            for place in places:
                for shift in (0, 1, 4096, MIB * 64):
                    with self.attack() as guest:
                        address = bytearray(guest.queues[0].address())
                        struct.pack_into(
                            "<Q", address, 8 + 8 * which, (place + shift) & U64
                        )
                        guest.queues[0].address = lambda address=address: bytes(address)
                        guest.start()
                        guest.queues[0].kick()
                        self.settle(guest, 0.01)

    def test_indexes(self):
        """More available than the ring holds, and numbers of no ring."""
        for ahead in (17, 1000, U16):
            with self.attack() as guest:
                guest.start()
                ring = guest.queues[0]
                struct.pack_into("<H", guest.memory.map, ring.available + 2, ahead)
                ring.kick()
                self.settle(guest)
        for index in (1, 63, 64, 255, 256, U32):
            for message in (
                vhost_wire.SET_VRING_NUM,
                vhost_wire.SET_VRING_BASE,
                vhost_wire.SET_VRING_ENABLE,
                vhost_wire.GET_VRING_BASE,
            ):
                with self.attack() as guest:
                    guest.start()
                    guest.wire.send(message, struct.pack("<II", index, U32))
                    guest.queues[0].kick()
                    self.settle(guest, 0.02)

    def chain(self, guest, *descriptors, head=0):
        """(address, length, flags, next) in the first slots of the table."""
        ring = guest.queues[0]
        struct.pack_into("<IIQ", guest.memory.map, guest.places[0], IN, 0, 0)
        for slot, descriptor in enumerate(descriptors):
            ring.describe(slot, *descriptor)
        ring.publish(head)
        ring.kick()
        self.settle(guest, 0.02)

    def test_chains(self):
        with self.attack() as probe:
            start = probe.memory.guest + probe.places[0]
            end = probe.memory.guest + probe.memory.size
        header = (start, 16, NEXT, 1)
        status = (start + 16, 1, WRITE, 0)
        for chain in (
            [(start, 16, NEXT, 0)],  # A loop of one.
            [(start, 16, NEXT, 1), (start, 16, NEXT, 0)],
            [header, (start, 512, WRITE | NEXT, 1)],
            [(start, 16, NEXT, 16)],  # Beyond the table.
            [(start, 16, NEXT, U16)],
            [(start, 16, 0, 0)],  # No status.
            [(start, 16, WRITE, 0)],
            [(start, 0, NEXT, 1), (start, 0, WRITE, 0)],
            [(start, 15, NEXT, 1), status],
            [(start, U32, NEXT, 1), status],
            [header, (start + 4096, U32, WRITE | NEXT, 2), status],
            [header, (U64 - 511, 512, WRITE | NEXT, 2), status],
            [header, (end - 256, 512, WRITE | NEXT, 2), status],
            [header, (end, 512, WRITE | NEXT, 2), status],
            [header, (0, 512, WRITE | NEXT, 2), status],
            [(start, 16, WRITE | NEXT, 1), (start + 64, 512, NEXT, 2), status],
            [header, (start + 4096, 512, U16, 2), status],
            # All on one place: request, data and status.
            [header, (start, 512, WRITE | NEXT, 2), (start, 1, WRITE, 0)],
            # The ring itself as data.
            [header, (end & ~0xFFFFF, 4096, WRITE | NEXT, 2), status],
        ):
            with self.attack() as guest:
                guest.start()
                self.chain(guest, *chain)
        for head in (16, 17, 1000, U16):
            with self.attack() as guest:
                guest.start()
                self.chain(guest, header, status, head=head)

    def test_indirect_tables(self):
        with self.attack() as probe:
            start = probe.memory.guest + probe.places[0]
            end = probe.memory.guest + probe.memory.size
        for address, length in (
            (start, 0),
            (start, 15),
            (start, 17),
            (start, U32),
            (start, 16 * 65536),
            (start, 0xFFFFFFF0),
            (end - 16, 32),
            (end, 16),
            (0, 16),
            (U64 - 15, 32),
            (start + 1, 32),
        ):
            for flags in (INDIRECT, INDIRECT | NEXT, INDIRECT | WRITE):
                with self.attack() as guest:
                    guest.start()
                    self.chain(guest, (address, length, flags, 0))
        # A table within a table, and tables with loops.
        for inner in (
            [(start + 8192, 32, INDIRECT, 0)],
            [(start, 16, NEXT, 0)],
            [(start, 16, NEXT, 1), (start, 16, NEXT, 0)],
            [(start, 16, NEXT, 2)],
        ):
            with self.attack() as guest:
                guest.start()
                for slot, descriptor in enumerate(inner):
                    table = guest.places[0] + 8192
                    guest.queues[0].describe(slot, *descriptor, table=table)
                self.chain(guest, (start + 8192, 16 * len(inner), INDIRECT, 0))

    def test_requests(self):
        """Right chains with wrong words."""
        ranges = (
            (U64, U32, 0),
            (0, U32, U32),
            (1 << 63, 1, 0),
            (U64 // 512, 8, 1),
            (0, 0, 0),
        )
        for kind in (IN, OUT, GET_ID, DISCARD, WRITE_ZEROES, U32, 1 << 31):
            for sector in (0, U64, 1 << 54, 1 << 63):
                with self.attack() as guest:
                    guest.start()
                    guest.submit(kind, sector, length=512)
                    guest.submit(kind, sector, data=bytes(512))
                    guest.submit(kind, sector)
                    guest.submit(kind, sector, data=bytes(7), length=9)
                    self.settle(guest, 0.02)
            for words in ranges:
                with self.attack() as guest:
                    guest.start()
                    guest.submit(kind, 0, data=struct.pack("<QII", *words) * 16)
                    guest.submit(kind, 0, data=struct.pack("<QII", *words)[:15])
                    self.settle(guest, 0.02)

    def test_random_rings(self):
        """Right rings in which bytes change under the server's eyes."""
        end = time.monotonic() + 2 * SECONDS
        while time.monotonic() < end:
            with self.attack() as guest:
                guest.start()
                guest.wire.socket.settimeout(0.2)
                ring = guest.queues[0]
                for _ in range(self.random.randrange(1, 60)):
                    self.change(guest, ring)
                    if len(ring.free) > 3 and self.random.randrange(3) == 0:
                        kind = self.random.choice((IN, OUT, DISCARD, GET_ID))
                        guest.submit(
                            kind,
                            self.random.randrange(1 << 17),
                            self.random.randbytes(16),
                            512,
                        )
                    ring.kick()
                guest.capacity()

    def change(self, guest, ring):
        place = self.random.randrange(ring.table, ring.end)
        if self.random.randrange(3) == 0:
            place = ring.available + self.random.randrange(4)
        guest.memory.map[place] = self.random.randrange(256)

    def test_content_that_changes_meanwhile(self):
        """A write's bytes change as they are read: any of them is stored, not more."""
        with self.attack() as guest:
            guest.start()
            stop = threading.Event()
            body = guest.places[0]

            def change():
                while not stop.is_set():
                    for at in range(16):
                        place = body + at * 8192 + 4096
                        guest.memory.map[place : place + 4096] = os.urandom(4096)

            thread = threading.Thread(target=change)
            thread.start()
            try:
                end = time.monotonic() + SECONDS
                while time.monotonic() < end:
                    self.attacks += 1
                    guest.write(4096 * self.random.randrange(1000), b"y" * 4096)
            finally:
                stop.set()
                thread.join()
            for at in range(1000):
                self.assertEqual(len(guest.read(4096 * at, 4096)), 4096)


class Crowds(HostileCase):
    """So many requests under way that several threads serve the queue."""

    DEPTH = 20  # A request has three of 64 descriptors.
    ROOM = 64 << 10

    @contextlib.contextmanager
    def crowd(self):
        """A guest whose requests take long, and many of them under way."""
        self.attacks += 1
        guest = self.let_in(lambda path: Disk(path, size=64, room=self.ROOM))
        try:
            guest.start()
            for _ in range(6):
                self.submit_many(guest)
                while guest.queues[0].chains:
                    guest.queues[0].await_used()
            self.submit_many(guest)
            time.sleep(self.random.random() / 1000)
            yield guest
        finally:
            guest.close()
            self.look()

    def submit_many(self, guest):
        half = self.random.randbytes(self.ROOM // 2) + bytes(self.ROOM // 2)
        for at in range(self.DEPTH):
            sector = at * (self.ROOM // 512)
            if at % 2:
                guest.submit(IN, sector, length=self.ROOM, kick=False)
            else:
                guest.submit(OUT, sector, half, kick=False)
        guest.queues[0].kick()

    def for_a_while(self):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            yield

    def test_leave(self):
        for _ in self.for_a_while():
            with self.crowd():
                pass

    def test_take_memory_away(self):
        for _ in self.for_a_while():
            with self.crowd() as guest, contextlib.suppress(*ENDS):
                size = self.random.choice((0, 4096, 8192, guest.memory.size // 2))
                os.ftruncate(guest.memory.fd, size)
                self.settle(guest)

    def test_stop_and_go_on(self):
        """Whatever stops it, all that was taken is answered, and nothing twice."""
        for _ in self.for_a_while():
            with self.crowd() as guest:
                ring = guest.queues[0]
                base = guest.stop_queue(ring)
                self.assertEqual(base, ring.used_index())
                self.assertLessEqual(len(ring.take_used()), self.DEPTH)
                guest.start_queue(ring, base)
                ring.kick()
                while ring.chains:
                    ring.await_used()
                self.assertEqual(ring.used_index(), ring.next_available)

    def test_change_the_setup(self):
        table = struct.pack("<II", 1, 0)
        for _ in self.for_a_while():
            with self.crowd() as guest, contextlib.suppress(*ENDS):
                full = os.eventfd(0)
                os.eventfd_write(full, U64 - 1)
                small = Memory(MIB)
                fds = {
                    vhost_wire.SET_MEM_TABLE: [small.fd],
                    vhost_wire.SET_VRING_CALL: [full],
                    vhost_wire.SET_VRING_KICK: [full],
                }
                payloads = {vhost_wire.SET_MEM_TABLE: table + small.region()}
                for _ in range(3):
                    request = self.random.choice(
                        (
                            *fds,
                            vhost_wire.SET_VRING_ENABLE,
                            vhost_wire.SET_STATUS,
                            vhost_wire.RESET_DEVICE,
                        )
                    )
                    payload = payloads.get(request, bytes(8))
                    guest.wire.send(request, payload, fds.get(request, ()))
                os.close(full)
                small.close()
                self.settle(guest)

    def test_one_chain_many_times(self):
        """Threads serve the same buffers at once."""
        for _ in self.for_a_while():
            with self.crowd() as guest, contextlib.suppress(*ENDS):
                ring = guest.queues[0]
                ring.publish(*[next(iter(ring.chains))] * 40)
                ring.kick()
                for _ in range(20):
                    place = self.random.randrange(ring.table, ring.end)
                    guest.memory.map[place] = self.random.randrange(256)
                self.settle(guest)


if __name__ == "__main__":
    main()
