"""ramvold with --state_dir, killed again and again under guests' requests. The guests
connect again with the same memory and the region of what was under way. Each request
is answered once, and nothing that was answered is lost.

Arguments: the paths of ramvold and ramvol. VHOST_KILLS=N kills N times.
"""

import os
import struct

from vhost_server import PATIENCE, Case, main, until
from vhost_wire import IN, OK, OUT, WRITE_ZEROES

KILLS = int(os.environ.get("VHOST_KILLS", "6"))
BLOCK = 4096
BLOCKS = 2048
DEPTH = 24  # Of each queue; a request has three descriptors.


class Load:
    """A guest's requests on blocks, no two of them on one block at a time."""

    def __init__(self, guest, rng):
        self.guest, self.random = guest, rng
        self.model = [bytes(BLOCK)] * BLOCKS
        self.busy = {}  # (queue, head): (kind, block, content)
        self.blocks = set()
        self.answered = 0

    def content(self):
        if self.random.randrange(4) == 0:
            return self.random.randbytes(BLOCK)
        return struct.pack("<Q", self.random.getrandbits(64)) * (BLOCK // 8)

    def submit(self, queue):
        block = self.random.randrange(BLOCKS)
        if block in self.blocks:
            return
        self.blocks.add(block)
        kind = self.random.choice((IN, OUT, OUT, WRITE_ZEROES))
        sector = block * (BLOCK // 512)
        content = bytes(BLOCK) if kind == WRITE_ZEROES else self.content()
        if kind == IN:
            head = self.guest.submit(IN, sector, length=BLOCK, queue=queue, kick=False)
        elif kind == OUT:
            head = self.guest.submit(OUT, sector, content, queue=queue, kick=False)
        else:
            # Half of them keep their memory, half give it back.
            data = struct.pack("<QII", sector, BLOCK // 512, self.random.randrange(2))
            head = self.guest.submit(kind, 0, data, queue=queue, kick=False)
        assert (queue, head) not in self.busy
        self.busy[queue, head] = kind, block, content

    def fill(self):
        for queue, ring in enumerate(self.guest.queues):
            for _ in range(DEPTH - len(ring.chains)):
                self.submit(queue)
            ring.kick()

    def take(self):
        for queue, ring in enumerate(self.guest.queues):
            for head, _ in ring.take_used():
                # An answer to what was answered before has no request here.
                kind, block, content = self.busy.pop((queue, head))
                status, data = self.guest.result(head, BLOCK, queue)
                assert status == OK, (status, kind, block)
                if kind == IN:
                    assert data == self.model[block], f"block {block}"
                else:
                    self.model[block] = content
                self.blocks.remove(block)
                self.answered += 1
            ring.want_calls()

    def run(self, count):
        """Until so many more are answered."""
        until_ = self.answered + count
        while self.answered < until_:
            self.fill()
            self.await_some()

    def await_some(self):
        before = self.answered
        self.take()
        until(lambda: self.take() or self.answered > before, "an answer", PATIENCE)

    def finish(self):
        while self.busy:
            self.await_some()

    def verify(self):
        for block in range(BLOCKS):
            data = self.guest.read(block * BLOCK, BLOCK)
            assert data == self.model[block], f"block {block}"


class Restart(Case):
    STATE = True

    def load(self, queues):
        name = self.volume(BLOCKS * BLOCK)
        guest = self.disk(name, queues=queues, size=128, room=BLOCK)
        return name, Load(guest.start(), self.random)

    def replace_server(self, name):
        self.server.kill()
        self.server.start()
        until(lambda: os.path.exists(self.server.path(name)), "the socket")

    def test_nothing_is_lost(self):
        name, load = self.load(queues=2)
        waiting = []
        # On a busy machine, all may be answered before a kill comes.
        while len(waiting) < KILLS or not any(waiting):
            self.assertLess(len(waiting), 10 * KILLS, waiting)
            load.run(self.random.randrange(200, 2000))
            load.fill()
            self.replace_server(name)
            load.take()
            waiting.append(len(load.busy))
            load.guest.reconnect(self.server.path(name))
            load.finish()
        load.run(500)
        load.finish()
        load.verify()
        self.assertEqual(
            load.guest.stop_queue(load.guest.queues[0]) & 0xFFFF,
            load.guest.queues[0].next_available,
        )
        print(
            f"{len(waiting)} kills, {load.answered} requests answered once each; "
            f"unanswered when the servers died: {waiting}"
        )

    def test_requests_that_no_server_has_seen(self):
        """Published while there is none."""
        name, load = self.load(queues=1)
        load.run(100)
        load.finish()
        self.server.kill()
        load.fill()
        self.server.start()
        load.guest.reconnect(self.server.path(name))
        load.finish()
        load.verify()

    def test_without_a_region(self):
        """The front end's own count of what was used is all that there is."""
        name, load = self.load(queues=1)
        load.run(100)
        load.finish()
        self.replace_server(name)
        load.guest.inflight = None
        load.guest.share_inflight = lambda: None
        load.guest.reconnect(self.server.path(name))
        load.run(100)
        load.finish()
        load.verify()

    def test_clean_stop(self):
        """What was begun is answered before the server ends."""
        name, load = self.load(queues=2)
        load.run(300)
        load.fill()
        self.server.stop()
        self.server.start()
        load.guest.reconnect(self.server.path(name))
        load.finish()
        load.verify()

    def test_snapshots_and_other_guests_come_back(self):
        name, load = self.load(queues=1)
        load.run(300)
        load.finish()
        self.server.ramvol("snapshot", "create", name, name + "-kept")
        snapshot = self.disk(f"@{name}-kept").start()
        self.assertEqual(snapshot.read(0, BLOCK), load.model[0])
        self.replace_server(name)
        snapshot.reconnect(self.server.path(f"@{name}-kept"))
        load.guest.reconnect(self.server.path(name))
        load.run(50)
        self.assertEqual(len(snapshot.read(0, 16 * BLOCK)), 16 * BLOCK)


if __name__ == "__main__":
    main()
