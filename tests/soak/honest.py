"""Clients that behave, and check what they are told.

Each is a thread with every way in. It works on volumes that all share and on one
of its own, which it makes, resizes and deletes again and again.
"""

import random
import threading
import time
import traceback

import grpc

import api
import bounds
import ways
from content import BLOCK, KINDS
from model import Volume

MOST_AT_ONCE = 8
# Of a hundred batches: those that change the client's own volume itself.
RESIZE_PERCENT, DELETE_PERCENT = 2, 1
# Of a hundred operations: those that begin where another one under way ends, most
# within its last block, and those that begin and end at any byte.
ADJACENT_PERCENT, UNALIGNED_PERCENT = 15, 15


class Volumes:
    """Makes, resizes and deletes volumes, and their models. Thread-safe."""

    def __init__(self, servers, content, record):
        self._channel = api.open_channel(servers.grpc_unix)
        self._stub = api.Stub(self._channel, "VolumeService", bounds.CALL_SECONDS)
        self._module = api.messages("VolumeService")
        self._content, self._record = content, record
        self._lock = threading.Lock()
        self._numbers = 0

    def _number(self):
        with self._lock:
            self._numbers += 1
            return self._numbers

    def create(self, name, size, allocator="ZSTD", memory_limit=0):
        """The model of a new volume; None when there is no memory for it."""
        made = self._call(
            "create",
            lambda: self._stub.CreateVolume(
                name=name,
                size_bytes=size,
                allocator="ALLOCATOR_" + allocator,
                memory_limit_bytes=memory_limit,
            ),
        )
        return made and Volume(
            self._number(), name, size, self._content, allocator != "MALLOC"
        )

    def resize(self, volume, size):
        """For whoever is its only client. May be refused, for lack of memory."""
        changed = self._module.Volume(size_bytes=size)
        mask = {"paths": ["size_bytes"]}
        if self._call(
            "resize",
            lambda: self._stub.UpdateVolume(
                name=volume.name, volume=changed, update_mask=mask
            ),
        ):
            volume.resized(size)

    def delete(self, volume):
        """Its clients have gone, which the server may yet have to notice."""
        end = time.monotonic() + bounds.CALL_SECONDS
        while True:
            try:
                self._call("delete", lambda: self._stub.DeleteVolume(name=volume.name))
                return
            except Attached:
                if time.monotonic() > end:
                    raise ways.NotServed(
                        f"volume {volume.name} is attached for "
                        f"{bounds.CALL_SECONDS} s after all have gone"
                    ) from None
                time.sleep(0.02)

    def stats(self, volume):
        return self._call("stat", lambda: self._stub.StatVolume(name=volume.name))

    def _call(self, name, call):
        """The answer; None when it was refused for lack of memory."""
        began = time.monotonic()
        result = ways.insist(self._record, lambda: self._try(call))
        self._record.took("control " + name, time.monotonic() - began)
        return result

    @staticmethod
    def _try(call):
        try:
            return call()
        except grpc.RpcError as error:
            if api.reason(error) == "VOLUME_ATTACHED":
                raise Attached from error
            ways.outcome_of(error)
            return None

    def close(self):
        self._channel.close()


class Attached(Exception):
    """A volume is not deleted while others have it open."""


class Honest:
    """One client, in a thread of its own until `over` is set."""

    def __init__(self, number, soak):
        """`soak` has: settings, servers, record, tide, volumes, shared, over."""
        self._soak, self._record = soak, soak.record
        self._name = f"own-{number}"
        self._rng = random.Random(f"honest {number} {soak.settings.seed}")
        self._ways = ways.make_all(soak.servers, soak.record)
        self._own = None
        self.thread = threading.Thread(target=self._run, name=self._name)
        self.thread.start()

    def _run(self):
        try:
            while not self._soak.over.is_set():
                self._step(self._soak.tide.phase())
            if self._own:
                self._delete_own()
        except ways.NotServed as error:
            self._record.violated("honest clients are served", f"{self._name}: {error}")
        except Exception:
            self._record.violated(
                "honest clients are served",
                f"{self._name}: {traceback.format_exc()}",
            )
        finally:
            for way in self._ways:
                way.close()

    def _step(self, phase):
        if phase.pause:
            self._soak.over.wait(self._rng.uniform(0, phase.pause))
        chance = self._rng.uniform(0, 100)
        if self._own is None:
            self._create_own()
        elif chance < DELETE_PERCENT:
            self._delete_own()
        elif chance < DELETE_PERCENT + RESIZE_PERCENT:
            self._resize_own()
        self._batch(phase)

    # The client's own volume.

    def _size(self):
        most = self._soak.settings.limit_bytes // 4
        return max(1, int(most ** self._rng.uniform(0.7, 1)))

    def _create_own(self):
        allocator = self._rng.choice(["ZSTD"] * 6 + ["SPARSE", "MALLOC"])
        size = self._size()
        limit = 0
        if allocator == "MALLOC":
            size = min(size, self._soak.settings.limit_bytes // 32)
        elif self._rng.randrange(4) == 0:
            limit = max(1 << 20, size // 2)
        self._own = self._soak.volumes.create(self._name, size, allocator, limit)

    def _resize_own(self):
        if self._own.refusable:  # What MALLOC reserves is small.
            self._soak.volumes.resize(self._own, self._size())

    def _delete_own(self):
        for way in self._ways:
            way.forget(self._own)
        if self._rng.randrange(2):
            self._verify_own()
        self._soak.volumes.delete(self._own)
        self._own = None

    def _verify_own(self):
        way = self._rng.choice(self._ways)
        verify_all(way, self._own, self._record)
        way.forget(self._own)

    # Reading and writing.

    def _batch(self, phase):
        """Some operations at once, on one volume over one way."""
        own = [self._own] if self._own else []
        volume = self._rng.choice(self._soak.shared + own)
        way = self._choose_way()
        operations = []
        most = 1 if way.one_by_one else MOST_AT_ONCE
        for _ in range(self._rng.randrange(1, most + 1)):
            operation = self._operation(volume, way, phase)
            if operation:
                operations.append(operation)
        if operations:
            self._check(volume, way, operations, way.run(volume, operations))
        # Not after an error: nobody knows what is there.
        for operation in operations:
            if operation.length:
                volume.release(operation.offset, operation.length)

    def _choose_way(self):
        """The command line seldom: each call is a process."""
        weights = [1 if way.name == "cli" else 20 for way in self._ways]
        return self._rng.choices(self._ways, weights)[0]

    def _operation(self, volume, way, phase):
        """A random one, its range reserved; None where others are at work."""
        kinds = [kind for kind in phase.weights if kind in way.kinds]
        kind = self._rng.choices(kinds, [phase.weights[k] for k in kinds])[0]
        operation = ways.Operation(kind)
        if kind == "flush":
            return operation
        operation.offset, operation.length = self._range(volume, phase)
        if not volume.reserve(operation.offset, operation.length):
            return None
        if kind == "write":
            operation.version, operation.data = volume.new_data(
                operation.offset,
                operation.length,
                self._rng.randrange(len(KINDS)),
            )
        return operation

    def _range(self, volume, phase):
        """An offset and a length. Operations on parts of the same block meet."""
        edge = volume.edge(self._rng)
        if edge is not None and self._rng.randrange(100) < ADJACENT_PERCENT:
            length = min(self._rng.randrange(1, 2 * BLOCK), volume.size - edge)
            if length > 0:
                return edge, length
        return self._range_anywhere(volume.size, phase)

    def _range_anywhere(self, size, phase):
        most = min(size, phase.most_bytes)
        if self._rng.random() < phase.small:
            length = BLOCK
        else:
            length = int(BLOCK * (most / BLOCK) ** self._rng.random())
        length = max(1, min(length, most))
        offset = self._rng.randrange(size - length + 1)
        if self._rng.randrange(100) < UNALIGNED_PERCENT:
            return offset, self._rng.randrange(1, length + 1)
        # Whole blocks, as far as the volume has them.
        offset -= offset % BLOCK
        return offset, min(max(BLOCK, length - length % BLOCK), size - offset)

    def _check(self, volume, way, operations, results):
        for operation, result in zip(operations, results):
            if operation.kind == "read":
                check_read(volume, way, operation, result, self._record)
            elif result.outcome == ways.DONE:
                volume.changed(
                    operation.offset, operation.length, operation.version, certain=True
                )
            else:
                self._check_refused(volume, way, operation, result)

    def _check_refused(self, volume, way, operation, result):
        """What was refused changed nothing, or only some of its blocks; what is
        there is read at once."""
        self._record.count(f"refused {operation.kind}")
        told = f"{operation.kind} of {operation.length} bytes over {way.name}"
        if operation.kind in ("trim", "flush"):
            self._record.violated("trims and flushes always work", told)
        if not volume.refusable:
            self._record.violated("a MALLOC volume never lacks memory", told)
        if result.outcome == ways.PARTLY:
            volume.changed(
                operation.offset, operation.length, operation.version, certain=False
            )
        read = ways.Operation("read", operation.offset, operation.length)
        [result] = way.run(volume, [read])
        check_read(volume, way, read, result, self._record, "after a refused " + told)


def check_read(volume, way, operation, result, record, told=""):
    if result.outcome != ways.DONE or len(result.data) != operation.length:
        raise ways.NotServed(
            f"read of {operation.length} bytes over {way.name}: "
            f"{result.outcome}, {len(result.data)} bytes"
        )
    wrong = volume.settle(operation.offset, result.data)
    if wrong:
        record.violated(
            "what was acknowledged is there", f"over {way.name} {told}: {wrong}"
        )


def verify_all(way, volume, record, piece=1 << 20):
    """Reads all of a volume that nobody changes."""
    for offset in range(0, volume.size, piece):
        operation = ways.Operation("read", offset, min(piece, volume.size - offset))
        [result] = way.run(volume, [operation])
        check_read(volume, way, operation, result, record)
