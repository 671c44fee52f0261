"""The ways in: each carries out operations on a volume, and tells their outcome.

A way belongs to one thread. It opens a volume when it first needs it, and anew
when the model's generation has changed.
"""

import itertools
import queue
import subprocess
import threading
import time
from dataclasses import dataclass

import grpc
import nbd

import api
import bounds

# Outcomes.
DONE = "done"
REFUSED = "refused"  # For lack of memory; nothing changed.
PARTLY = "partly"  # The same, and some of it may have changed.

_REFUSALS = ("SERVER_MEMORY_LIMIT", "VOLUME_MEMORY_LIMIT")
_MOST_OPEN = 4


class NotServed(Exception):
    """An operation was not answered in time, or not as promised."""


@dataclass
class Operation:
    """kind: read, write, trim, zero or flush. A write has data."""

    kind: str
    offset: int = 0
    length: int = 0
    data: bytes = b""
    version: int = 0


@dataclass
class Result:
    outcome: str
    data: bytes = b""


class Busy(Exception):
    """The server asks to come again: no room for the message itself."""


class Way:
    """What all have in common: volumes that are kept open."""

    name = ""
    kinds = frozenset(["read", "write", "trim", "zero", "flush"])
    one_by_one = False

    def __init__(self, record):
        self._record = record
        self._open = {}

    def run(self, volume, operations):
        """The results in order. NotServed when an answer takes longer than the bound."""
        if self.one_by_one:
            batches = [[operation] for operation in operations]
        else:
            batches = [operations]
        return [r for batch in batches for r in self._run_timed(volume, batch)]

    def _run_timed(self, volume, operations):
        began = time.monotonic()
        results = self._run(volume, operations)
        seconds = time.monotonic() - began
        for operation in operations:
            self._record.took(f"{self.name} {operation.kind}", seconds)
        if seconds > bounds.CALL_SECONDS:
            raise NotServed(f"{self.name} took {seconds:.1f} s")
        return results

    def _run(self, volume, operations):
        """Carries them out, at once or one by one."""
        raise NotImplementedError

    def _handle(self, volume, make):
        """What is open for the volume, else what `make` makes."""
        key = (volume.name, volume.number, volume.generation)
        if key not in self._open:
            self.forget(volume)
            while len(self._open) >= _MOST_OPEN:
                self._close(self._open.pop(next(iter(self._open))))
            self._open[key] = make()
        return self._open[key]

    def forget(self, volume):
        """Closes it."""
        for key in [key for key in self._open if key[0] == volume.name]:
            self._close(self._open.pop(key))

    def _close(self, handle):
        handle.close()

    def close(self):
        while self._open:
            self._close(self._open.popitem()[1])


def insist(record, call):
    """Calls until the server is not busy, or for as long as the bound allows."""
    end = time.monotonic() + bounds.CALL_SECONDS
    pause = 0.01
    while True:
        try:
            return call()
        except Busy as busy:
            record.count("busy")
            if time.monotonic() > end:
                raise NotServed(f"busy for {bounds.CALL_SECONDS} s: {busy}") from busy
            time.sleep(pause)
            pause = min(1, pause * 2)


class Unary(Way):
    """One gRPC call for each operation, each awaited before the next."""

    name = "unary"
    one_by_one = True

    def __init__(self, record, address):
        super().__init__(record)
        self._channel = api.open_channel(address)
        self._blocks = api.Stub(self._channel, "BlockService", bounds.CALL_SECONDS)

    def _run(self, volume, operations):
        [operation] = operations
        return [insist(self._record, lambda: self._call(volume.name, operation))]

    def _call(self, volume, operation):
        range_ = {"offset": operation.offset, "length": operation.length}
        blocks = self._blocks
        try:
            if operation.kind == "read":
                return Result(DONE, blocks.Read(volume=volume, **range_).data)
            if operation.kind == "write":
                blocks.Write(
                    volume=volume, offset=operation.offset, data=operation.data
                )
            elif operation.kind == "trim":
                blocks.Trim(volume=volume, **range_)
            elif operation.kind == "zero":
                blocks.WriteZeroes(volume=volume, **range_)
            else:
                blocks.Flush(volume=volume)
        except grpc.RpcError as error:
            return outcome_of(error)
        return Result(DONE)

    def close(self):
        self._channel.close()


def outcome_of(error):
    """Of a call that failed: a result, or an exception."""
    reason = api.reason(error)
    if reason in _REFUSALS:
        return Result(REFUSED)
    if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and reason is None:
        raise Busy(error.details())
    raise NotServed(f"{error.code().name}, reason {reason}: {error.details()}")


class _Stream:
    """An open Io stream."""

    def __init__(self, channel, name):
        self._messages = api.messages("BlockService")
        self._requests, self._responses = queue.Queue(), queue.Queue()
        self._ids = itertools.count(1)
        call = channel.stream_stream(
            "/ramvol.v1.BlockService/Io",
            request_serializer=self._messages.IoRequest.SerializeToString,
            response_deserializer=self._messages.IoResponse.FromString,
        )
        self._call = call(iter(self._requests.get, None))
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()
        self._requests.put(self._messages.IoRequest(volume=name))
        self._next()

    def _receive(self):
        try:
            for response in self._call:
                self._responses.put(response)
            self._responses.put(NotServed("the stream ended"))
        except grpc.RpcError as error:
            self._responses.put(error)

    def _next(self):
        try:
            response = self._responses.get(timeout=bounds.CALL_SECONDS)
        except queue.Empty:
            raise NotServed(f"io: no answer in {bounds.CALL_SECONDS} s") from None
        if isinstance(response, grpc.RpcError):
            outcome_of(response)
        if isinstance(response, Exception):
            raise response
        return response

    def run(self, operations):
        results = []
        while operations:
            count = self._fitting(operations)
            results += self._run_at_once(operations[:count])
            operations = operations[count:]
        return results

    @staticmethod
    def _fitting(operations):
        """How many of the first ones fit into the stream's window."""
        lengths = itertools.accumulate(one.length for one in operations)
        return max(1, sum(total <= bounds.WINDOW_BYTES for total in lengths))

    def _run_at_once(self, operations):
        request = self._messages.IoRequest()
        waiting = {}
        for index, operation in enumerate(operations):
            added = request.operations.add(id=next(self._ids))
            waiting[added.id] = index
            self._fill(added, operation)
        self._requests.put(request)
        results = [None] * len(operations)
        while waiting:
            for result in self._next().results:
                results[waiting.pop(result.id)] = self._result(result)
        return results

    @staticmethod
    def _fill(added, operation):
        if operation.kind == "write":
            added.write.offset, added.write.data = operation.offset, operation.data
        elif operation.kind == "flush":
            added.flush.SetInParent()
        else:
            kind = {"zero": "write_zeroes"}.get(operation.kind, operation.kind)
            range_ = getattr(added, kind)
            range_.offset, range_.length = operation.offset, operation.length

    @staticmethod
    def _result(result):
        if not result.HasField("error"):
            return Result(DONE, result.data)
        reason = api.reason_of_status(result.error)
        if reason in _REFUSALS:
            return Result(REFUSED)
        raise NotServed(f"io: {reason}: {result.error.message}")

    def close(self):
        self._requests.put(None)
        self._call.cancel()
        self._thread.join()


class Io(Way):
    """Operations at once over an Io stream."""

    name = "io"

    def __init__(self, record, address):
        super().__init__(record)
        self._channel = api.open_channel(address)

    def _run(self, volume, operations):
        return insist(self._record, lambda: self._try(volume, operations))

    def _try(self, volume, operations):
        try:
            stream = self._handle(volume, lambda: _Stream(self._channel, volume.name))
            return stream.run(operations)
        except (Busy, NotServed):
            self.forget(volume)
            raise

    def close(self):
        super().close()
        self._channel.close()


class _Nbd:
    """An NBD connection by libnbd."""

    def __init__(self, uri, refused):
        """`refused` is the outcome of what gets ENOSPC."""
        self._refused = refused
        self._handle = nbd.NBD()
        self._handle.aio_connect_uri(uri)
        self._end = time.monotonic() + bounds.CALL_SECONDS
        while self._handle.aio_is_connecting():
            self._poll()
        if not self._handle.aio_is_ready():
            raise NotServed(f"no NBD connection to {uri}")

    def _poll(self):
        left = self._end - time.monotonic()
        if left <= 0:
            raise NotServed(f"nbd: no answer in {bounds.CALL_SECONDS} s")
        self._handle.poll(max(1, int(left * 1000)))

    def run(self, operations):
        self._end = time.monotonic() + bounds.CALL_SECONDS
        waiting = {}
        for index, operation in enumerate(operations):
            cookie, buffer = self._begin(operation)
            waiting[cookie] = index, buffer
        results = [None] * len(operations)
        while waiting:
            for cookie in list(waiting):
                result = self._completed(cookie, waiting[cookie][1])
                if result:
                    results[waiting.pop(cookie)[0]] = result
            if waiting:
                self._poll()
        return results

    def _begin(self, operation):
        """The command's cookie, and the buffer that it uses. None is an nbd.Buffer,
        which libnbd 1.14 never frees."""
        handle, at, size = self._handle, operation.offset, operation.length
        if operation.kind == "read":
            buffer = bytearray(size)
            return handle.aio_pread(buffer, at), buffer
        if operation.kind == "write":
            return handle.aio_pwrite(operation.data, at), operation.data
        if operation.kind == "trim":
            return handle.aio_trim(size, at), None
        if operation.kind == "zero":
            return handle.aio_zero(size, at), None
        return handle.aio_flush(), None

    def _completed(self, cookie, buffer):
        try:
            if not self._handle.aio_command_completed(cookie):
                return None
        except nbd.Error as error:
            if error.errno != "ENOSPC":
                raise
            return Result(self._refused)
        return Result(DONE, bytes(buffer or b""))

    def close(self):
        """In the middle, if it must be."""
        try:
            if self._handle.aio_is_ready():
                self._handle.aio_disconnect()
        except nbd.Error:
            pass
        del self._handle


class Nbd(Way):
    """Operations at once over an NBD connection."""

    def __init__(self, record, name, make_uri, refused=REFUSED):
        super().__init__(record)
        self.name, self._make_uri, self._refused = name, make_uri, refused

    def _run(self, volume, operations):
        try:
            connection = self._handle(
                volume, lambda: _Nbd(self._make_uri(volume.name), self._refused)
            )
            return connection.run(operations)
        except (nbd.Error, NotServed) as error:
            self.forget(volume)
            raise NotServed(f"{self.name}: {error}") from error


class Cli(Way):
    """The command line, which carries operations out in pieces of its own."""

    name = "cli"
    one_by_one = True
    kinds = frozenset(["read", "write", "trim"])

    def __init__(self, record, ramvol, address):
        super().__init__(record)
        self._command = [ramvol, "--server=" + address]

    def _run(self, volume, operations):
        [operation] = operations
        return [self._call(volume.name, operation)]

    def _call(self, volume, operation):
        at, length = str(operation.offset), str(operation.length)
        # Others hold the volume open, too.
        command = {
            "read": ["read", volume, at, length],
            "write": ["write", "--force", volume, at],
            "trim": ["trim", "--force", volume, at, length],
        }[operation.kind]
        try:
            done = subprocess.run(
                self._command + command,
                input=operation.data,
                capture_output=True,
                timeout=bounds.CALL_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise NotServed(f"{command} is not answered") from error
        if done.returncode == 0:
            return Result(DONE, done.stdout)
        if any(reason.encode() in done.stderr for reason in _REFUSALS):
            return Result(PARTLY)
        raise NotServed(f"{command}: {done.stderr.decode(errors='replace')}")


def make_all(servers, record):
    """One of each; over Unix sockets and TCP both."""
    bridge = servers.bridge_socket
    return [
        Unary(record, servers.grpc_tcp),
        Io(record, servers.grpc_unix),
        Nbd(record, "nbd", servers.uri),
        Nbd(record, "nbd-tcp", lambda name: f"nbd://{servers.nbd_tcp}/{name}"),
        Cli(record, servers.ramvol, servers.grpc_unix),
        # The SDK cuts long writes into parts.
        Nbd(record, "bridge", lambda name: servers.uri(name, bridge), PARTLY),
    ]
