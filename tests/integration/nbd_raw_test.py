"""What libraries do not say: extended headers, and options in every odd order."""

import itertools
import random
import socket
import struct
import unittest

from nbd_python import (
    GIB,
    GREATEST,
    HOST,
    MIB,
    PORT,
    SEED,
    SOCKET,
    logical_bytes,
    make_volume,
)
from nbd_wire import (
    CMD_BLOCK_STATUS,
    CMD_CACHE,
    CMD_DISC,
    CMD_FLUSH,
    CMD_READ,
    CMD_TRIM,
    CMD_WRITE,
    CMD_WRITE_ZEROES,
    EINVAL,
    ENOSPC,
    FIXED_NEWSTYLE,
    FLAG_DF,
    FLAG_FUA,
    FLAG_PAYLOAD,
    FLAG_REQ_ONE,
    INFO_BLOCK_SIZE,
    INFO_DESCRIPTION,
    INFO_EXPORT,
    INFO_NAME,
    NO_ZEROES,
    OPT_ABORT,
    OPT_EXPORT_NAME,
    OPT_EXTENDED_HEADERS,
    OPT_GO,
    OPT_INFO,
    OPT_LIST,
    OPT_LIST_META_CONTEXT,
    OPT_PEEK_EXPORT,
    OPT_SET_META_CONTEXT,
    OPT_STARTTLS,
    OPT_STRUCTURED_REPLY,
    OPTION_MAGIC,
    REP_ACK,
    REP_ERR_EXT_HEADER_REQD,
    REP_ERR_INVALID,
    REP_ERR_POLICY,
    REP_ERR_UNKNOWN,
    REP_ERR_UNSUP,
    REP_META_CONTEXT,
    REP_SERVER,
    REPLY_BLOCK_STATUS_EXT,
    Closed,
    Wire,
    context_request,
    info_request,
    infos_of,
    text,
)


class Case(unittest.TestCase):
    def wire(self, *arguments, tcp=False, **settings):
        wire = Wire((HOST, PORT) if tcp else SOCKET, *arguments, **settings)
        self.addCleanup(wire.close)
        return wire

    def extended(self, volume, tcp=False):
        """A connection with extended headers in transmission."""
        wire = self.wire(tcp=tcp)
        wire.use_extended()
        wire.use_context(volume)
        wire.go(volume)
        return wire

    def assert_refused(self, wire, option, kind, data=b"", says=""):
        got, replies = wire.option(option, data)
        self.assertEqual(hex(got), hex(kind), replies)
        message = replies[-1][1].decode()
        self.assertIn(says, message)
        self.assertLessEqual(len(message), 4096)
        self.assertTrue(message, "an error says nothing")

    def assert_alive(self, wire):
        """Its options still work."""
        kind, _ = wire.option(OPT_LIST)
        self.assertEqual(kind, REP_ACK)


class ExtendedHeaders(Case):
    def test_the_greatest_volume_in_one_request(self):
        for tcp in False, True:
            volume = make_volume(self, GREATEST)
            wire = self.extended(volume, tcp)
            wire.write(1 << 40, b"x" * 4096)
            wire.write(GREATEST - 1, b"y")
            reply = wire.request(CMD_BLOCK_STATUS, 0, GREATEST)
            self.assertEqual(
                reply.extents()[:4],
                [
                    (1 << 40, 3),
                    (4096, 0),
                    (GREATEST - (1 << 40) - 4096 - 4095, 3),
                    (4095, 0),
                ],
            )
            self.assertEqual(reply.chunks[0][0], REPLY_BLOCK_STATUS_EXT)
            reply = wire.request(CMD_TRIM, 5, GREATEST - 10)
            self.assertEqual(reply.error, 0)
            self.assertEqual(wire.read(1 << 40, 1), b"\0")
            self.assertEqual(wire.read(GREATEST - 2, 2), b"\0y")
            wire.write(3 << 50, b"z")
            reply = wire.request(CMD_WRITE_ZEROES, 0, GREATEST)
            self.assertEqual(reply.error, 0)
            self.assertEqual(wire.read(3 << 50, 1), b"\0")
            reply = wire.request(CMD_BLOCK_STATUS, 0, GREATEST)
            self.assertEqual(reply.extents(), [(GREATEST, 3)])
            self.assertEqual(logical_bytes(volume), 0)

    def test_block_status_of_one_extent(self):
        wire = self.extended(make_volume(self, GREATEST))
        wire.write(5 << 40, b"x")
        for offset, length, expected in (
            (0, GREATEST, (5 << 40, 3)),
            (0, 1 << 40, (1 << 40, 3)),
            (5 << 40, GREATEST - (5 << 40), (4096, 0)),
            (GREATEST - 1, 1, (1, 3)),
        ):
            reply = wire.request(CMD_BLOCK_STATUS, offset, length, FLAG_REQ_ONE)
            self.assertEqual(reply.extents(), [expected])

    def test_reads_and_writes(self):
        wire = self.extended(make_volume(self))
        data = random.Random(SEED).randbytes(3 * MIB)
        wire.write(12345, data)
        self.assertEqual(wire.read(12345, 3 * MIB), data)
        self.assertEqual(
            wire.read(0, 8 * MIB), bytes(12345) + data + bytes(5 * MIB - 12345)
        )
        self.assertEqual(wire.read(12345, 65536, FLAG_DF), data[:65536])
        wire.write(7, b"fua", FLAG_FUA)
        self.assertEqual(wire.read(6, 5), b"\0fua\0")
        for command in CMD_FLUSH, CMD_CACHE:
            length = 0 if command == CMD_FLUSH else 4096
            self.assertEqual(wire.request(command, 0, length).error, 0)

    def test_errors_carry_a_message_and_it_lives_on(self):
        wire = self.extended(make_volume(self, GIB))
        for command, offset, length, error in (
            (CMD_READ, GIB, 1, EINVAL),
            (CMD_READ, 0, 1 << 40, EINVAL),
            (CMD_READ, (1 << 64) - 1, 2, EINVAL),
            (CMD_READ, 1, (1 << 64) - 1, EINVAL),
            (CMD_TRIM, 0, GIB + 1, EINVAL),
            (CMD_TRIM, (1 << 64) - 1, (1 << 64) - 1, EINVAL),
            (CMD_WRITE_ZEROES, 1, GIB, ENOSPC),
            (CMD_WRITE_ZEROES, 0, (1 << 64) - 1, ENOSPC),
            (CMD_BLOCK_STATUS, 0, GREATEST, EINVAL),
            (CMD_CACHE, GIB - 1, 2, EINVAL),
            (77, 0, 1, EINVAL),
            (0xFFFF, 0, 0, EINVAL),
        ):
            reply = wire.request(command, offset, length)
            self.assertEqual(reply.error, error, (command, offset, length))
            self.assertTrue(reply.message)
            self.assertEqual(reply.chunks, [])
        reply = wire.request(CMD_WRITE, GIB - 1, 2, payload=b"ab")
        self.assertEqual(reply.error, ENOSPC)
        self.assertIn(str(GIB), reply.message)
        self.assertEqual(wire.read(GIB - 1, 1), b"\0")

    def test_payload_rules(self):
        wire = self.extended(make_volume(self))
        # A write without the flag brings its data all the same, as QEMU's do.
        wire.cookie += 1
        wire.lengths[wire.cookie] = wire.offsets[wire.cookie] = 0
        wire.send(wire.header(CMD_WRITE, 0, 0, 4096, wire.cookie) + b"q" * 4096)
        self.assertEqual(wire.receive_reply().error, 0)
        self.assertEqual(wire.read(0, 4096), b"q" * 4096)
        # On other commands the payload is consumed, and refused.
        for command in (
            CMD_READ,
            CMD_FLUSH,
            CMD_TRIM,
            CMD_CACHE,
            CMD_WRITE_ZEROES,
            CMD_BLOCK_STATUS,
            99,
        ):
            payload = b"\x25" * 100000
            reply = wire.request(
                command, 0, len(payload), FLAG_PAYLOAD, payload=payload
            )
            self.assertEqual(reply.error, EINVAL, command)
        data = random.Random(SEED).randbytes(32 * MIB)
        wire.write(1, data)
        self.assertEqual(wire.read(1, 32 * MIB), data)

    def test_a_payload_that_is_too_large_ends_the_connection(self):
        # As the document says of extended headers; compact ones are drained.
        for length in 32 * MIB + 1, 1 << 40, (1 << 64) - 1:
            wire = self.extended(make_volume(self))
            with self.subTest(length=length):
                wire.send_request(CMD_WRITE, 0, length)
                self.assertTrue(wire.is_closed())

    def test_compact_requests_are_wrong_then(self):
        wire = self.extended(make_volume(self))
        wire.extended = False
        wire.send_request(CMD_READ, 0, 4096)
        wire.send(bytes(100))
        self.assertTrue(wire.is_closed())

    def test_without_a_context_there_is_no_block_status(self):
        volume = make_volume(self)
        wire = self.wire()
        wire.use_extended()
        wire.go(volume)
        self.assertEqual(wire.request(CMD_BLOCK_STATUS, 0, 1).error, EINVAL)
        self.assertEqual(wire.read(0, 1), b"\0")

    def test_replies_come_in_any_order_each_with_its_cookie(self):
        wire = self.extended(make_volume(self))
        choose = random.Random(SEED)
        content = choose.randbytes(4 * MIB)
        wire.write(0, content)
        asked = {}
        for left in reversed(range(1000)):
            offset = choose.randrange(len(content) - 70000)
            length = choose.randrange(1, 70000)
            asked[wire.send_request(CMD_READ, offset, length)] = (offset, length)
            while len(asked) > (64 if left else 0):
                reply = wire.receive_reply()
                offset, length = asked.pop(reply.cookie)
                self.assertEqual(
                    reply.read_into(offset, length),
                    content[offset : offset + length],
                )


class Transmission(Case):
    def test_simple_replies(self):
        for tcp in False, True:
            wire = self.wire(tcp=tcp)
            wire.go(make_volume(self, GIB))
            wire.write(5, b"simple")
            self.assertEqual(wire.read(4, 8), b"\0simple\0")
            for command, error in (
                (CMD_READ, EINVAL),
                (CMD_TRIM, EINVAL),
                (CMD_WRITE_ZEROES, ENOSPC),
                (CMD_BLOCK_STATUS, EINVAL),
                (CMD_CACHE, EINVAL),
                (8, EINVAL),
                (1000, EINVAL),
            ):
                reply = wire.request(command, GIB - 1, 2)
                self.assertEqual(reply.error, error, command)
            reply = wire.request(CMD_WRITE, GIB - 1, 2, payload=b"ab")
            self.assertEqual(reply.error, ENOSPC)
            reply = wire.request(CMD_READ, 0, 512, FLAG_DF)
            self.assertEqual(reply.error, EINVAL)
            self.assertEqual(wire.read(5, 6), b"simple")

    def test_structured_errors_say_what_is_wrong(self):
        wire = self.wire()
        wire.use_structured()
        wire.go(make_volume(self, GIB))
        reply = wire.request(CMD_READ, GIB - 1, 2)
        self.assertEqual(reply.error, EINVAL)
        self.assertIn(str(GIB), reply.message)
        reply = wire.request(CMD_READ, 0, 512, 1 << 15)
        self.assertEqual(reply.error, EINVAL)
        self.assertTrue(reply.message)

    def test_payloads_that_are_too_large_are_drained(self):
        wire = self.wire()
        wire.go(make_volume(self, GIB))
        for length in 32 * MIB + 1, 100 * MIB:
            cookie = wire.send_request(CMD_WRITE, 0, length)
            for _ in range(length // MIB):
                wire.send(bytes(MIB))
            wire.send(bytes(length % MIB))
            reply = wire.receive_reply()
            self.assertEqual((reply.cookie, reply.error), (cookie, EINVAL))
        wire.write(0, b"alive")
        self.assertEqual(wire.read(0, 6), b"alive\0")

    def test_refused_writes_are_drained_byte_for_byte(self):
        volume = make_volume(self, GIB)
        wire = self.wire()
        wire.go(volume)
        choose = random.Random(SEED)
        for _ in range(200):
            payload = choose.randbytes(int(200000 ** choose.random()))
            kind = choose.randrange(3)
            if kind == 0:
                reply = wire.request(
                    CMD_WRITE, GIB - len(payload) + 1, len(payload), 0, payload
                )
                self.assertEqual(reply.error, ENOSPC)
            elif kind == 1:
                reply = wire.request(CMD_WRITE, 0, len(payload), 1 << 9, payload)
                self.assertEqual(reply.error, EINVAL)
            else:
                wire.write(MIB, payload)
                self.assertEqual(wire.read(MIB, len(payload)), payload)
        self.assertEqual(wire.read(0, MIB), bytes(MIB))

    def test_disconnect_answers_what_is_under_way(self):
        volume = make_volume(self)
        wire = self.wire()
        wire.use_structured()
        wire.go(volume)
        cookies = {
            wire.send_request(CMD_WRITE, i * MIB, MIB, 0, b"%c" % i * MIB)
            for i in range(16)
        }
        wire.send_request(CMD_DISC)
        while cookies:
            reply = wire.receive_reply()
            self.assertEqual(reply.error, 0)
            cookies.remove(reply.cookie)
        self.assertTrue(wire.is_closed())
        other = self.wire()
        other.go(volume)
        for i in range(16):
            self.assertEqual(other.read(i * MIB, MIB), b"%c" % i * MIB)

    def test_a_wrong_magic_ends_only_this_connection(self):
        volume = make_volume(self)
        bystander = self.wire()
        bystander.go(volume)
        wire = self.wire()
        wire.go(volume)
        wire.send(b"\x12\x56\x09\x53" + bytes(24))
        self.assertTrue(wire.is_closed())
        self.assertEqual(bystander.read(0, 1), b"\0")


class Options(Case):
    def test_what_the_server_greets_with(self):
        self.assertEqual(self.wire().server_flags, FIXED_NEWSTYLE | NO_ZEROES)

    def test_unknown_client_flags_end_the_connection(self):
        for flags in 1 << 2, 1 << 31, 0xFFFFFFFF:
            self.assertTrue(self.wire(flags).is_closed())

    def test_clients_of_the_first_newstyle(self):
        volume = make_volume(self, 12345)
        for flags in range(4):
            wire = self.wire(flags)
            wire.send_option(OPT_EXPORT_NAME, volume.encode())
            size, _ = struct.unpack(">QH", wire.receive(10))
            self.assertEqual(size, 12345)
            if not flags & NO_ZEROES:
                self.assertEqual(wire.receive(124), bytes(124))
            self.assertEqual(wire.read(12344, 1), b"\0")

    def test_export_names_that_cannot_be(self):
        for name in b"missing", b"", b"\0", b"\xff\xfe", b"x" * 4096, b"x" * 9999:
            wire = self.wire()
            wire.send_option(OPT_EXPORT_NAME, name)
            self.assertTrue(wire.is_closed(), name[:10])

    def test_a_wrong_magic(self):
        wire = self.wire()
        wire.send(b"IHAVENOT" + struct.pack(">II", OPT_LIST, 0))
        self.assertTrue(wire.is_closed())

    def test_options_that_are_not_known(self):
        wire = self.wire()
        for option in 0, OPT_PEEK_EXPORT, 12, 13, 1 << 20, (1 << 32) - 1:
            for data in b"", b"data", bytes(4000):
                self.assert_refused(wire, option, REP_ERR_UNSUP, data)
        self.assert_alive(wire)

    def test_tls_is_refused(self):
        wire = self.wire()
        kind, _ = wire.option(OPT_STARTTLS)
        self.assertIn(kind, (REP_ERR_UNSUP, REP_ERR_POLICY))
        self.assert_refused(wire, OPT_STARTTLS, REP_ERR_INVALID, b"x")
        self.assert_alive(wire)

    def test_options_that_take_no_data(self):
        wire = self.wire()
        for option in OPT_LIST, OPT_STRUCTURED_REPLY, OPT_EXTENDED_HEADERS:
            for data in b"x", bytes(1000):
                self.assert_refused(wire, option, REP_ERR_INVALID, data)
        self.assert_alive(wire)
        # None of them has taken effect.
        volume = make_volume(self)
        wire.go(volume)
        self.assertEqual(wire.request(CMD_READ, 0, 5).data, bytes(5))

    def test_abort_is_acknowledged(self):
        for data in b"", b"ignored", bytes(5000):
            wire = self.wire()
            self.assertEqual(wire.option(OPT_ABORT, data)[0], REP_ACK)
            self.assertTrue(wire.is_closed())

    def test_options_that_are_too_large(self):
        for option in OPT_INFO, OPT_LIST, OPT_SET_META_CONTEXT, 999:
            wire = self.wire()
            try:
                kind, _ = wire.option(option, bytes(100000))
                self.assertGreater(kind, 1 << 31)
                self.assert_alive(wire)
            except Closed:
                pass
        for length in 1 << 24, 1 << 31, (1 << 32) - 1:
            wire = self.wire()
            wire.send_option(OPT_INFO, bytes(1000), length)
            wire.socket.shutdown(socket.SHUT_WR)
            self.assertTrue(wire.is_closed())

    def test_malformed_data(self):
        volume = make_volume(self).encode()
        good = info_request(volume, INFO_BLOCK_SIZE)
        wire = self.wire()
        for option in OPT_INFO, OPT_GO:
            for data in (
                b"",
                b"\0\0\0",
                good[:-1],
                good + b"\0",
                b"\xff\xff\xff\xff" + good[4:],
                struct.pack(">I", len(volume) + 3) + good[4:],
                text(volume),
                text(volume) + b"\0",
                text(volume) + struct.pack(">H", 65535),
            ):
                self.assert_refused(wire, option, REP_ERR_INVALID, data)
        wire.use_structured()
        good = context_request(volume, "base:allocation")
        for option in OPT_LIST_META_CONTEXT, OPT_SET_META_CONTEXT:
            for data in (
                b"",
                b"\0\0\0",
                text(volume),
                good[:-1],
                good + b"\0",
                text(volume) + struct.pack(">I", 2) + text("base:allocation"),
                text(volume) + struct.pack(">II", 1, 0xFFFFFFFF) + b"base:",
                text(volume) + b"\xff\xff\xff\xff",
            ):
                self.assert_refused(wire, option, REP_ERR_INVALID, data)
        self.assert_alive(wire)

    def test_list(self):
        volumes = [make_volume(self, name=f"list-{i}") for i in range(40)]
        wire = self.wire()
        kind, replies = wire.option(OPT_LIST)
        self.assertEqual(kind, REP_ACK)
        self.assertEqual(replies[-1], (REP_ACK, b""))
        names = []
        for kind, data in replies[:-1]:
            self.assertEqual(kind, REP_SERVER)
            (length,) = struct.unpack(">I", data[:4])
            names.append(data[4 : 4 + length].decode())
        self.assertEqual(names, sorted(names))
        self.assertLessEqual(set(volumes), set(names))

    def test_info_tells_the_truth_and_goes_on(self):
        volume = make_volume(self, 123456789)
        wire = self.wire()
        self.assert_refused(
            wire,
            OPT_INFO,
            REP_ERR_UNKNOWN,
            info_request("missing"),
            says="missing",
        )
        kind, replies = wire.option(
            OPT_INFO,
            info_request(
                volume, INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE, 77, 65535
            ),
        )
        self.assertEqual(kind, REP_ACK)
        before = infos_of(replies)
        size, flags = struct.unpack(">QH", before[INFO_EXPORT])
        self.assertEqual(size, 123456789)
        self.assertFalse(flags & (1 << 7), "DF without structured replies")
        self.assertEqual(before[INFO_NAME], volume.encode())
        low, preferred, high = struct.unpack(">III", before[INFO_BLOCK_SIZE])
        self.assertEqual((low, preferred % 4096, high), (1, 0, 32 * MIB))
        self.assertLessEqual(set(before), {INFO_EXPORT, INFO_NAME, INFO_DESCRIPTION, 3})
        after = wire.go(volume, INFO_NAME, INFO_DESCRIPTION, 3, 77, 65535)
        self.assertEqual(after, before)

    def test_the_empty_name(self):
        wire = self.wire()
        self.assert_refused(
            wire, OPT_INFO, REP_ERR_UNKNOWN, info_request(""), says="default"
        )
        self.assert_refused(
            wire, OPT_GO, REP_ERR_UNKNOWN, info_request(""), says="default"
        )
        make_volume(self, 4321, name="default")
        infos = wire.go("", INFO_NAME)
        self.assertEqual(infos[INFO_NAME], b"default")
        self.assertEqual(infos[INFO_EXPORT][:8], struct.pack(">Q", 4321))
        self.assertEqual(wire.read(4320, 1), b"\0")

    def test_structured_and_extended_in_either_order(self):
        volume = make_volume(self)
        wire = self.wire()
        wire.use_structured()
        wire.use_extended()
        self.assert_refused(wire, OPT_STRUCTURED_REPLY, REP_ERR_EXT_HEADER_REQD)
        wire.use_context(volume)
        wire.go(volume)
        wire.write(1, b"ext")
        self.assertEqual(wire.read(0, 5), b"\0ext\0")
        wire = self.wire()
        wire.use_extended()
        self.assert_refused(wire, OPT_STRUCTURED_REPLY, REP_ERR_EXT_HEADER_REQD)
        wire.go(volume)
        self.assertEqual(wire.read(0, 5), b"\0ext\0")

    def test_export_name_after_extended_headers_ends_the_connection(self):
        volume = make_volume(self)
        wire = self.wire()
        wire.use_extended()
        wire.send_option(OPT_EXPORT_NAME, volume.encode())
        self.assertTrue(wire.is_closed())

    def test_export_name_after_structured_replies(self):
        volume = make_volume(self)
        wire = self.wire()
        wire.use_structured()
        wire.use_context(volume)
        wire.send_option(OPT_EXPORT_NAME, volume.encode())
        _, flags = struct.unpack(">QH", wire.receive(10))
        self.assertTrue(flags & (1 << 7), "no DF")
        self.assertEqual(wire.read(0, 5), bytes(5))
        reply = wire.request(CMD_BLOCK_STATUS, 0, 4096)
        self.assertEqual(reply.extents()[0][1], 3)

    def test_the_same_again_does_no_harm(self):
        volume = make_volume(self)
        for option in OPT_STRUCTURED_REPLY, OPT_EXTENDED_HEADERS:
            wire = self.wire()
            kinds = [wire.option(option)[0] for _ in range(3)]
            self.assertEqual(kinds[0], REP_ACK)
            self.assertLessEqual(set(kinds[1:]), {REP_ACK, REP_ERR_INVALID})
            wire.extended = option == OPT_EXTENDED_HEADERS
            wire.go(volume)
            self.assertEqual(wire.read(0, 5), bytes(5))

    def test_contexts(self):
        volume = make_volume(self)

        def contexts(option, *queries, name=volume):
            kind, replies = wire.option(option, context_request(name, *queries))
            if kind != REP_ACK:
                return hex(kind)
            return [
                (data[:4] == bytes(4), data[4:].decode())
                for kind, data in replies[:-1]
                if self.assertEqual(kind, REP_META_CONTEXT) is None
            ]

        wire = self.wire()
        self.assertEqual(
            contexts(OPT_SET_META_CONTEXT, "base:allocation"),
            hex(REP_ERR_INVALID),
        )
        wire.use_structured()
        listed = [(True, "base:allocation")]
        self.assertEqual(contexts(OPT_LIST_META_CONTEXT), listed)
        self.assertEqual(contexts(OPT_LIST_META_CONTEXT, "base:"), listed)
        self.assertEqual(
            contexts(OPT_LIST_META_CONTEXT, "x-a:", "base:allocation"), listed
        )
        for queries in (
            ["base:other"],
            ["qemu:dirty-bitmap:x"],
            ["qemu:allocation-depth"],
            ["base:allocationx"],
            ["BASE:allocation"],
        ):
            self.assertEqual(contexts(OPT_LIST_META_CONTEXT, *queries), [])
            self.assertEqual(contexts(OPT_SET_META_CONTEXT, *queries), [])
        for option in OPT_LIST_META_CONTEXT, OPT_SET_META_CONTEXT:
            self.assertEqual(
                contexts(option, "base:allocation", name="missing"),
                hex(REP_ERR_UNKNOWN),
            )
        # Selecting: no wildcard, each context once.
        self.assertEqual(contexts(OPT_SET_META_CONTEXT), [])
        self.assertEqual(contexts(OPT_SET_META_CONTEXT, "base:"), [])
        for queries in ["base:allocation"], ["base:allocation"] * 3:
            selected = contexts(OPT_SET_META_CONTEXT, *queries)
            self.assertEqual([name for _, name in selected], ["base:allocation"])
        # The last one counts, also when it fails.
        contexts(OPT_SET_META_CONTEXT, "base:allocation", name="missing")
        wire.go(volume)
        self.assertEqual(wire.request(CMD_BLOCK_STATUS, 0, 1).error, EINVAL)

    def test_a_context_of_another_export_does_not_count(self):
        first, second = make_volume(self), make_volume(self)
        wire = self.wire()
        wire.use_structured()
        wire.use_context(first)
        wire.go(second)
        self.assertEqual(wire.request(CMD_BLOCK_STATUS, 0, 1).error, EINVAL)
        self.assertEqual(wire.read(0, 1), b"\0")

    def test_every_order(self):
        volume = make_volume(self)
        steps = {
            "structured": (OPT_STRUCTURED_REPLY, b""),
            "extended": (OPT_EXTENDED_HEADERS, b""),
            "list": (OPT_LIST, b""),
            "info": (OPT_INFO, info_request(volume)),
            "context": (
                OPT_SET_META_CONTEXT,
                context_request(volume, "base:allocation"),
            ),
            "unknown": (4711, b"?"),
        }
        orders = list(itertools.permutations(steps))
        random.Random(SEED).shuffle(orders)
        for order in orders[:200]:
            with self.subTest(order=order), self.wire() as wire:
                for step in order:
                    wire.option(*steps[step])
                wire.extended = True
                wire.go(volume)
                before = order.index("context")
                selected = before > min(
                    order.index("structured"), order.index("extended")
                )
                reply = wire.request(CMD_BLOCK_STATUS, 0, 4096)
                self.assertEqual(reply.error, 0 if selected else EINVAL)
                self.assertEqual(wire.read(0, 3), bytes(3))

    def test_all_of_a_handshake_in_one_packet(self):
        volume = make_volume(self)
        wire = self.wire(greet=False)
        go = info_request(volume)
        wire.send(
            struct.pack(">I", FIXED_NEWSTYLE | NO_ZEROES)
            + OPTION_MAGIC
            + struct.pack(">II", OPT_GO, len(go))
            + go
            + wire.header(CMD_READ, 0, 0, 5, 1)
        )
        wire.receive(18)
        while wire.receive_option_reply(OPT_GO)[0] != REP_ACK:
            pass
        wire.lengths[1] = 5
        wire.offsets[1] = 0
        self.assertEqual(wire.receive_reply().data, bytes(5))


if __name__ == "__main__":
    unittest.main()
