"""gRPC calls over plain sockets, for clients that no library would let be.
Nothing is read unless asked for."""

import socket
import struct

from h2_wire import ACK, DATA, END_STREAM, PING, PREFACE, SETTINGS, frame, headers

READ, WRITE, IO = (
    f"/ramvol.v1.BlockService/{name}" for name in ("Read", "Write", "Io")
)
MOST_IN_FRAME = 16384
_INITIAL_WINDOW_SIZE = 4


def settings(window):
    """How much of each stream the other side may send until it is told more."""
    return frame(SETTINGS, payload=struct.pack(">HI", _INITIAL_WINDOW_SIZE, window))


def message(proto, claim=None):
    """A gRPC message; `claim` is the length that it says it has."""
    data = proto.SerializeToString()
    return b"\0" + struct.pack(">I", len(data) if claim is None else claim) + data


class Connection:
    """One connection. Streams are odd numbers, in order."""

    def __init__(self, connected, window=65535):
        """`connected` is a socket."""
        self.socket = connected
        self._stream = -1
        self._received = b""
        self.send(PREFACE + settings(window))

    def send(self, data):
        self.socket.sendall(data)

    def call(self, path, *messages, end=False):
        """Begins a call, and sends its first messages; the stream's number."""
        self._stream += 2
        out = headers(self._stream, path=path)
        body = b"".join(messages)
        for at in range(0, len(body), MOST_IN_FRAME):
            last = end and at + MOST_IN_FRAME >= len(body)
            part = body[at : at + MOST_IN_FRAME]
            out += frame(DATA, END_STREAM if last else 0, self._stream, part)
        self.send(out)
        return self._stream

    def obey(self, seconds):
        """Reads for so long, and acknowledges settings and pings, no more. False
        when the server has closed."""
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(SEND_SECONDS)
        self._received += data
        while len(self._received) >= 9:
            end = 9 + int.from_bytes(self._received[:3], "big")
            if len(self._received) < end:
                break
            kind, flags = self._received[3:5]
            payload = self._received[9:end]
            self._received = self._received[end:]
            if kind in (SETTINGS, PING) and not flags & ACK:
                self.send(frame(kind, ACK, 0, payload if kind == PING else b""))
        return bool(data)


# A peer that takes nothing for as long has ended the attack.
SEND_SECONDS = 10


def connect_from(address, source):
    """`address` is a path or (host, port); `source` a host to come from."""
    path = isinstance(address, str)
    out = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    out.settimeout(SEND_SECONDS)
    if not path:
        out.bind((source, 0))
    out.connect(address)
    return out
