"""NBD's messages over a plain socket, for tests that a library would not let be.

The numbers are those of doc/proto.md in NetworkBlockDevice/nbd, with extended
headers. Only Python's standard library is used.
"""

import socket
import struct

OPTION_MAGIC = b"IHAVEOPT"
OPTION_REPLY_MAGIC = 0x0003E889045565A9
REQUEST_MAGIC = 0x25609513
EXTENDED_REQUEST_MAGIC = 0x21E41C71
SIMPLE_REPLY_MAGIC = 0x67446698
STRUCTURED_REPLY_MAGIC = 0x668E33EF
EXTENDED_REPLY_MAGIC = 0x6E8A278C

FIXED_NEWSTYLE, NO_ZEROES = 1, 2

(
    OPT_EXPORT_NAME,
    OPT_ABORT,
    OPT_LIST,
    OPT_PEEK_EXPORT,
    OPT_STARTTLS,
    OPT_INFO,
    OPT_GO,
    OPT_STRUCTURED_REPLY,
    OPT_LIST_META_CONTEXT,
    OPT_SET_META_CONTEXT,
    OPT_EXTENDED_HEADERS,
) = range(1, 12)

REP_ACK, REP_SERVER, REP_INFO, REP_META_CONTEXT = 1, 2, 3, 4
REP_ERR_UNSUP = (1 << 31) + 1
REP_ERR_POLICY = (1 << 31) + 2
REP_ERR_INVALID = (1 << 31) + 3
REP_ERR_TLS_REQD = (1 << 31) + 5
REP_ERR_UNKNOWN = (1 << 31) + 6
REP_ERR_TOO_BIG = (1 << 31) + 9
REP_ERR_EXT_HEADER_REQD = (1 << 31) + 10

INFO_EXPORT, INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE = 0, 1, 2, 3

(
    CMD_READ,
    CMD_WRITE,
    CMD_DISC,
    CMD_FLUSH,
    CMD_TRIM,
    CMD_CACHE,
    CMD_WRITE_ZEROES,
    CMD_BLOCK_STATUS,
) = range(8)

FLAG_FUA, FLAG_NO_HOLE, FLAG_DF, FLAG_REQ_ONE, FLAG_FAST_ZERO, FLAG_PAYLOAD = (
    1 << bit for bit in range(6)
)

(
    REPLY_NONE,
    REPLY_OFFSET_DATA,
    REPLY_OFFSET_HOLE,
) = range(3)
REPLY_BLOCK_STATUS, REPLY_BLOCK_STATUS_EXT = 5, 6
REPLY_ERROR = (1 << 15) + 1
REPLY_ERROR_OFFSET = (1 << 15) + 2

EPERM, EIO, EINVAL, ENOSPC, ENOTSUP, ESHUTDOWN = 1, 5, 22, 28, 95, 108

TIMEOUT_SECONDS = 60


class Closed(Exception):
    """The server has closed the connection."""


def text(name):
    """A string with its length before it."""
    data = name.encode() if isinstance(name, str) else name
    return struct.pack(">I", len(data)) + data


def info_request(name, *infos):
    """The data of OPT_INFO and OPT_GO."""
    return text(name) + struct.pack(f">H{len(infos)}H", len(infos), *infos)


def context_request(name, *queries):
    """The data of OPT_LIST_META_CONTEXT and OPT_SET_META_CONTEXT."""
    return text(name) + struct.pack(">I", len(queries)) + b"".join(map(text, queries))


class Reply:
    """All that answers one request; .error is 0 or NBD's number."""

    def __init__(self, cookie):
        self.cookie = cookie
        self.error = 0
        self.message = ""
        self.chunks = []  # (type, payload), without errors and NONE.
        self.data = b""  # Of a simple reply.

    def read_into(self, offset, length):
        """The bytes of a read, put together from the chunks."""
        if self.data:
            return self.data
        out = bytearray(length)
        covered = 0
        for kind, payload in self.chunks:
            (start,) = struct.unpack(">Q", payload[:8])
            begin = start - offset
            if kind == REPLY_OFFSET_HOLE:
                (size,) = struct.unpack(">I", payload[8:])
                assert size > 0
            else:
                assert kind == REPLY_OFFSET_DATA and len(payload) > 8
                size = len(payload) - 8
                out[begin : begin + size] = payload[8:]
            assert 0 <= begin and begin + size <= length
            covered += size
        assert covered == length, f"{covered} of {length} bytes are covered"
        return bytes(out)

    def extents(self):
        """Block status as (length, state); one chunk, of either type."""
        [(kind, payload)] = self.chunks
        if kind == REPLY_BLOCK_STATUS:
            return list(struct.iter_unpack(">II", payload[4:]))
        assert kind == REPLY_BLOCK_STATUS_EXT
        (count,) = struct.unpack(">I", payload[4:8])
        found = list(struct.iter_unpack(">QII", payload[8:]))
        assert count in (0, len(found))
        assert all(padding == 0 for _, padding, _ in found)
        return [(length, state) for length, _, state in found]


class Wire:
    """A connection. Not for use by several threads."""

    def __init__(self, address, flags=FIXED_NEWSTYLE | NO_ZEROES, greet=True):
        """`address` is a path, (host, port), or a socket that is connected."""
        if isinstance(address, socket.socket):
            self.socket = address
        else:
            family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
            self.socket = socket.socket(family)
            self.socket.settimeout(TIMEOUT_SECONDS)
            self.socket.connect(address)
        self.extended = False
        self.cookie = 0
        self.lengths = {}  # Of the data of reads under way, by cookie.
        self.offsets = {}  # Of requests under way, by cookie.
        if greet:
            assert self.receive(16) == b"NBDMAGICIHAVEOPT"
            self.server_flags = struct.unpack(">H", self.receive(2))[0]
            self.send(struct.pack(">I", flags))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def receive(self, count):
        data = bytearray()
        while len(data) < count:
            try:
                part = self.socket.recv(min(count - len(data), 1 << 20))
            except ConnectionResetError as error:
                raise Closed from error
            if not part:
                raise Closed
            data += part
        return bytes(data)

    def is_closed(self):
        """Waits until the server closes; what comes before is thrown away."""
        try:
            while True:
                self.receive(1)
        except Closed:
            return True

    # Options.

    def send_option(self, option, data=b"", length=None):
        length = len(data) if length is None else length
        self.send(OPTION_MAGIC + struct.pack(">II", option, length) + data)

    def receive_option_reply(self, option):
        magic, echoed, kind, length = struct.unpack(">QIII", self.receive(20))
        assert magic == OPTION_REPLY_MAGIC and echoed == option
        return kind, self.receive(length)

    def option(self, option, data=b""):
        """Sends an option: the final reply's type, and all (type, data)."""
        self.send_option(option, data)
        replies = []
        while True:
            replies.append(self.receive_option_reply(option))
            kind = replies[-1][0]
            if kind == REP_ACK or kind >= 1 << 31:
                return kind, replies

    def go(self, name, *infos):
        """Begins the transmission: infos by type. An error raises."""
        kind, replies = self.option(OPT_GO, info_request(name, *infos))
        assert kind == REP_ACK, (hex(kind), replies)
        return infos_of(replies)

    def use_extended(self):
        assert self.option(OPT_EXTENDED_HEADERS)[0] == REP_ACK
        self.extended = True

    def use_structured(self):
        assert self.option(OPT_STRUCTURED_REPLY)[0] == REP_ACK

    def use_context(self, name):
        kind, replies = self.option(
            OPT_SET_META_CONTEXT, context_request(name, "base:allocation")
        )
        assert kind == REP_ACK and len(replies) == 2, replies

    # Requests.

    def header(self, command, flags, offset, length, cookie):
        if self.extended:
            return struct.pack(
                ">IHHQQQ",
                EXTENDED_REQUEST_MAGIC,
                flags,
                command,
                cookie,
                offset,
                length,
            )
        return struct.pack(
            ">IHHQQI", REQUEST_MAGIC, flags, command, cookie, offset, length
        )

    def send_request(self, command, offset=0, length=0, flags=0, payload=b""):
        """Sends it, and tells its cookie."""
        self.cookie += 1
        if command == CMD_WRITE and self.extended:
            flags |= FLAG_PAYLOAD
        self.lengths[self.cookie] = length if command == CMD_READ else 0
        self.offsets[self.cookie] = offset
        self.send(self.header(command, flags, offset, length, self.cookie) + payload)
        return self.cookie

    def receive_reply(self):
        """The reply that is complete next. Chunks of different replies must not
        mix, which holds for one request at a time."""
        reply = None
        while True:
            magic = struct.unpack(">I", self.receive(4))[0]
            if magic == SIMPLE_REPLY_MAGIC:
                assert not self.extended and reply is None
                error, cookie = struct.unpack(">IQ", self.receive(12))
                reply = Reply(cookie)
                reply.error = error
                length = self.lengths.pop(cookie)
                self.offsets.pop(cookie)
                if not error:
                    reply.data = self.receive(length)
                return reply
            if self.extended:
                assert magic == EXTENDED_REPLY_MAGIC, hex(magic)
                flags, kind, cookie, offset, length = struct.unpack(
                    ">HHQQQ", self.receive(28)
                )
                assert offset == self.offsets[cookie]
            else:
                assert magic == STRUCTURED_REPLY_MAGIC, hex(magic)
                flags, kind, cookie, length = struct.unpack(">HHQI", self.receive(16))
            if reply is None:
                reply = Reply(cookie)
            assert reply.cookie == cookie
            self.take_chunk(reply, kind, self.receive(length))
            if flags & 1:
                self.lengths.pop(cookie)
                self.offsets.pop(cookie)
                return reply

    @staticmethod
    def take_chunk(reply, kind, payload):
        if kind in (REPLY_ERROR, REPLY_ERROR_OFFSET):
            reply.error, length = struct.unpack(">IH", payload[:6])
            assert reply.error != 0
            reply.message = payload[6 : 6 + length].decode()
        elif kind == REPLY_NONE:
            assert not payload
        else:
            reply.chunks.append((kind, payload))

    def request(self, command, offset=0, length=0, flags=0, payload=b""):
        """Sends one, and receives its reply."""
        cookie = self.send_request(command, offset, length, flags, payload)
        reply = self.receive_reply()
        assert reply.cookie == cookie
        return reply

    def read(self, offset, length, flags=0):
        reply = self.request(CMD_READ, offset, length, flags)
        assert reply.error == 0, (reply.error, reply.message)
        return reply.read_into(offset, length)

    def write(self, offset, data, flags=0):
        reply = self.request(CMD_WRITE, offset, len(data), flags, data)
        assert reply.error == 0, (reply.error, reply.message)


def infos_of(replies):
    """The data of REP_INFO replies, by information type."""
    return {
        struct.unpack(">H", data[:2])[0]: data[2:]
        for kind, data in replies
        if kind == REP_INFO
    }
