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


def headers(stream, flags=END_HEADERS, **how):
    return frame(HEADERS, flags, stream, block(**how))


def reset(stream):
    return frame(RST, 0, stream, struct.pack(">I", 8))


HELLO = PREFACE + frame(SETTINGS)


def connect(port, source="127.0.0.1", hello=HELLO):
    wire = socket.socket()
    wire.settimeout(30)
    wire.bind((source, 0))
    wire.connect(("127.0.0.1", port))
    wire.sendall(hello)
    return wire


def send_until_closed(wire, data):
    """True when the peer hung up before it had everything."""
    try:
        wire.sendall(data)
    except OSError:
        return True
    return False


def is_closed(wire, seconds=20):
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
