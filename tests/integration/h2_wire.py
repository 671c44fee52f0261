"""The least of HTTP/2 that it takes to misbehave."""

import socket
import struct

DATA, HEADERS, PRIORITY, RST, SETTINGS, _, PING, GOAWAY, UPDATE, CONTINUATION = range(
    10
)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b""):
    return (
        struct.pack(">I", len(payload))[1:]
        + struct.pack(">BBI", kind, flags, stream)
        + payload
    )


def text(value):
    return bytes([len(value)]) + value.encode()


def number(value, most=0x7F, first=0):
    """RFC 7541, section 5.1."""
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 0x80:
        out.append(value % 0x80 | 0x80)
        value //= 0x80
    return bytes([*out, value])


def field(name, value, indexed=False):
    """A literal; `indexed` adds it to the server's table, where INDEXED finds it."""
    kind = b"\x40" if indexed else b"\x00"
    return kind + text(name) + number(len(value)) + value.encode()


INDEXED = b"\xbe"


def block(path="/ramvol.v1.VolumeService/ListVolumes"):
    """A call's headers: nothing is indexed, so each block is alike."""
    return (
        b"\x83\x86"
        + b"\x04"
        + text(path)
        + b"\x01"
        + text("x")
        + b"\x0f\x10"
        + text("application/grpc")
        + b"\x00"
        + text("te")
        + text("trailers")
    )


def headers(stream, flags=END_HEADERS, more=b"", **how):
    """With `more` fields, in as many frames as that takes."""
    fields = block(**how) + more
    parts = [fields[i : i + 16384] for i in range(0, len(fields), 16384)]
    kinds = [HEADERS] + [CONTINUATION] * (len(parts) - 1)
    ends = [0] * (len(parts) - 1) + [flags]
    return b"".join(
        frame(kind, end, stream, part) for kind, end, part in zip(kinds, ends, parts)
    )


def reset(stream):
    return frame(RST, 0, stream, struct.pack(">I", 8))


HELLO = PREFACE + frame(SETTINGS)
PATIENCE = 120  # Seconds; for a busy machine, not what is normal.


def connect(port, source="127.0.0.1", hello=HELLO, tls=None, patience=PATIENCE):
    """`tls` is an ssl.SSLContext; its handshake comes first."""
    wire = socket.socket()
    wire.settimeout(patience)
    wire.bind((source, 0))
    wire.connect(("127.0.0.1", port))
    try:
        if tls:
            # It takes the descriptor over, whatever comes of it.
            wire = tls.wrap_socket(
                wire, server_hostname="localhost", do_handshake_on_connect=False
            )
            wire.do_handshake()
        wire.sendall(hello)
    except OSError:
        wire.close()
        raise
    return wire


def send_until_closed(wire, data):
    """True when the peer hung up before it had everything."""
    try:
        wire.sendall(data)
    except OSError:
        return True
    return False


def is_closed(wire, seconds=PATIENCE):
    """Reads until the peer hangs up."""
    wire.settimeout(seconds)
    try:
        while wire.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True
