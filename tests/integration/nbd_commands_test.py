"""Every command, flag and error of NBD as libnbd's Python sees it."""

import errno
import random
import unittest

import nbd

from nbd_python import (
    GIB,
    GREATEST,
    HOST,
    MIB,
    PORT,
    SEED,
    SOCKET,
    WAY,
    logical_bytes,
    make_volume,
    ramvol,
)

FLAGS = [1 << bit for bit in range(16)]
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = FLAGS[:5]


def new_handle(extended=False):
    handle = nbd.NBD()
    # libnbd 1.18 and later ask for extended headers by themselves.
    if hasattr(handle, "set_request_extended_headers"):
        handle.set_request_extended_headers(extended)
    return handle


def connect(volume, *, tcp=False, contexts=True, strict=True, structured=True):
    handle = new_handle()
    handle.set_export_name(volume)
    handle.set_request_structured_replies(structured)
    if contexts:
        handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    if tcp:
        handle.connect_tcp(HOST, str(PORT))
    else:
        handle.connect_unix(SOCKET)
    if not strict:
        handle.set_strict_mode(0)
    return handle


def options(**settings):
    """A connection that still negotiates."""
    handle = new_handle()
    handle.set_opt_mode(True)
    for name, value in settings.items():
        getattr(handle, f"set_{name}")(value)
    handle.connect_unix(SOCKET)
    return handle


def extents(handle, offset, length, flags=0):
    """Block status as a list of (length, state)."""
    found = []

    def collect(context, start, entries, error):
        assert context == nbd.CONTEXT_BASE_ALLOCATION and start == offset
        found.extend(zip(entries[::2], entries[1::2]))

    handle.block_status(length, offset, collect, flags)
    return found


def chunks(handle, length, offset, flags=0):
    """A structured read: the data, and (offset, length, kind) of its chunks."""
    found = []

    def collect(data, start, status, error):
        found.append((start, len(data), status))

    data = handle.pread_structured(length, offset, collect, flags)
    return bytes(data), sorted(found)


class Case(unittest.TestCase):
    def connect(self, volume, **settings):
        handle = connect(volume, **settings)
        self.addCleanup(self.shut_down, handle)
        return handle

    @staticmethod
    def shut_down(handle):
        if handle.aio_is_ready():
            handle.shutdown()

    def assert_error(self, number, call, *arguments):
        with self.assertRaises(nbd.Error) as caught:
            call(*arguments)
        self.assertEqual(
            errno.errorcode.get(caught.exception.errnum),
            errno.errorcode[number],
            caught.exception,
        )


class TransmissionFlags(Case):
    def test_everything_is_offered(self):
        for tcp in False, True:
            handle = self.connect(make_volume(self, GIB), tcp=tcp)
            self.assertEqual(handle.get_size(), GIB)
            for can in "cache df fast_zero flush fua multi_conn trim zero".split():
                self.assertTrue(getattr(handle, f"can_{can}")(), can)
            self.assertFalse(handle.is_read_only())
            self.assertFalse(handle.is_rotational())
            self.assertTrue(handle.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION))
            self.assertTrue(handle.get_structured_replies_negotiated())
            self.assertEqual(handle.get_protocol(), "newstyle-fixed")
            self.assertEqual(handle.get_block_size(nbd.SIZE_MINIMUM), 1)
            self.assertEqual(handle.get_block_size(nbd.SIZE_MAXIMUM), 32 * MIB)
            preferred = handle.get_block_size(nbd.SIZE_PREFERRED)
            self.assertIn(preferred, [1 << bit for bit in range(12, 17)])

    def test_without_structured_replies_there_is_no_df(self):
        handle = self.connect(make_volume(self), structured=False)
        self.assertFalse(handle.get_structured_replies_negotiated())
        self.assertFalse(handle.can_df())
        self.assertFalse(handle.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION))
        self.assertTrue(handle.can_fast_zero())

    def test_read_only_volumes_say_so(self):
        volume = make_volume(self)
        ramvol("write", volume, 0, stdin=b"kept")
        ramvol("set", volume, "--read-only=true")
        handle = self.connect(volume, strict=False)
        self.assertTrue(handle.is_read_only())
        for call in (
            lambda: handle.pwrite(b"x", 0),
            lambda: handle.trim(1, 0),
            lambda: handle.zero(1, 0),
            lambda: handle.pwrite(b"x" * 5, GIB - 1),
        ):
            self.assert_error(errno.EPERM, call)
        self.assertEqual(handle.pread(4, 0), b"kept")
        handle.flush()
        handle.cache(4096, 0)
        self.assertEqual(extents(handle, 0, 8192), [(4096, 0), (4096, 3)])

    def test_a_volume_that_becomes_read_only_refuses_from_then_on(self):
        volume = make_volume(self)
        handle = self.connect(volume)
        handle.pwrite(b"kept", 0)
        ramvol("set", volume, "--read-only=true")
        self.assert_error(errno.EPERM, handle.pwrite, b"lost", 0)
        self.assert_error(errno.EPERM, handle.trim, 4, 0)
        self.assert_error(errno.EPERM, handle.zero, 4, 0)
        self.assertEqual(handle.pread(4, 0), b"kept")


class CommandFlags(Case):
    COMMANDS = {
        "read": (lambda h, flags: h.pread(512, 0, flags), FUA | DF),
        "write": (lambda h, flags: h.pwrite(bytes(512), 0, flags), FUA),
        "flush": (lambda h, flags: h.flush(flags), FUA),
        "trim": (lambda h, flags: h.trim(4096, 0, flags), FUA),
        "cache": (lambda h, flags: h.cache(4096, 0, flags), FUA),
        "zero": (
            lambda h, flags: h.zero(4096, 0, flags),
            FUA | NO_HOLE | FAST_ZERO,
        ),
        "block_status": (
            lambda h, flags: h.block_status(4096, 0, lambda *_: 0, flags),
            FUA | REQ_ONE,
        ),
    }

    def check(self, structured):
        handle = self.connect(make_volume(self), strict=False, structured=structured)
        for command, (call, allowed) in self.COMMANDS.items():
            if not structured:
                allowed &= ~DF
                if command == "block_status":
                    allowed = 0
            for flag in FLAGS:
                with self.subTest(command=command, flag=flag):
                    if flag & allowed:
                        try:
                            call(handle, flag)
                        except nbd.Error as error:
                            # Honest either way.
                            self.assertEqual(flag, FAST_ZERO)
                            self.assertEqual(error.errnum, errno.ENOTSUP)
                    else:
                        self.assert_error(errno.EINVAL, call, handle, flag)
        # It lives on.
        handle.pwrite(b"alive", 7)
        self.assertEqual(handle.pread(5, 7), b"alive")

    def test_each_on_each_command(self):
        self.check(structured=True)

    def test_each_on_each_command_with_simple_replies(self):
        self.check(structured=False)

    def test_block_status_wants_a_context(self):
        handle = self.connect(make_volume(self), contexts=False, strict=False)
        self.assert_error(errno.EINVAL, handle.block_status, 4096, 0, lambda *_: 0)
        self.assertEqual(handle.pread(1, 0), b"\0")

    def test_fua_and_flush_are_seen_by_other_connections(self):
        volume = make_volume(self)
        first, second = self.connect(volume), self.connect(volume, tcp=True)
        for round_ in range(50):
            data = b"%8d" % round_
            first.pwrite(data, round_ * 5000, FUA)
            self.assertEqual(second.pread(8, round_ * 5000), data)
            second.pwrite(data[::-1], round_ * 5000 + 8)
            second.flush()
            self.assertEqual(first.pread(8, round_ * 5000 + 8), data[::-1])
            second.zero(8, round_ * 5000, FUA)
            self.assertEqual(first.pread(8, round_ * 5000), bytes(8))

    def test_no_hole_leaves_zeroes_allocated(self):
        volume = make_volume(self)
        handle = self.connect(volume)
        handle.pwrite(b"\xff" * MIB, 0)
        handle.zero(MIB, 0, NO_HOLE)
        self.assertEqual(handle.pread(MIB, 0), bytes(MIB))
        [(length, state)] = extents(handle, 0, MIB)
        self.assertEqual(length, MIB)
        self.assertEqual(state & nbd.STATE_HOLE, 0)
        self.assertEqual(logical_bytes(volume), MIB)
        handle.zero(MIB, 0)
        self.assertEqual(extents(handle, 0, MIB), [(MIB, 3)])
        self.assertEqual(logical_bytes(volume), 0)

    def test_fast_zero_is_honest(self):
        handle = self.connect(make_volume(self))
        handle.pwrite(b"\xff" * 65536, 0)
        handle.zero(32768, 0, FAST_ZERO)
        self.assertEqual(handle.pread(65536, 0), bytes(32768) + b"\xff" * 32768)
        # Over nothing, and over a lot of it.
        handle.zero(GIB - MIB, MIB, FAST_ZERO)
        # What it refuses, it leaves alone.
        for offset, length in (32769, 5), (40000, 100):
            try:
                handle.zero(length, offset, FAST_ZERO)
                self.assertEqual(handle.pread(length, offset), bytes(length))
            except nbd.Error as error:
                self.assertEqual(error.errnum, errno.ENOTSUP)
                self.assertEqual(handle.pread(length, offset), b"\xff" * length)

    def test_df_asks_for_one_chunk(self):
        handle = self.connect(make_volume(self))
        for block in range(0, 16, 2):
            handle.pwrite(b"x" * 4096, block * 4096)
        expected = (b"x" * 4096 + bytes(4096)) * 8
        data, found = chunks(handle, 65536, 0)
        self.assertEqual(data, expected)
        self.assertEqual(
            [kind for _, _, kind in found], [nbd.READ_DATA, nbd.READ_HOLE] * 8
        )
        data, found = chunks(handle, 65536, 0, DF)
        self.assertEqual(data, expected)
        self.assertEqual(found, [(0, 65536, nbd.READ_DATA)])
        try:
            data, found = chunks(handle, 4 * MIB, 0, DF)
            self.assertEqual(data, expected + bytes(4 * MIB - 65536))
            self.assertEqual(len(found), 1)
        except nbd.Error as error:
            self.assertEqual(error.errnum, errno.EOVERFLOW)

    def test_sparse_reads_send_holes(self):
        handle = self.connect(make_volume(self))
        handle.pwrite(b"x" * 4096, 5 * MIB)
        data, found = chunks(handle, 32 * MIB, 1)
        self.assertEqual(
            data, bytes(5 * MIB - 1) + b"x" * 4096 + bytes(27 * MIB - 4095)
        )
        self.assertEqual(sum(length for _, length, _ in found), 32 * MIB)
        sent = sum(n for _, n, kind in found if kind == nbd.READ_DATA)
        self.assertGreaterEqual(sent, 4096)
        self.assertLessEqual(sent, MIB)

    def test_req_one_gets_one(self):
        handle = self.connect(make_volume(self))
        handle.pwrite(b"x" * 8192, MIB)
        self.assertEqual(extents(handle, 0, 512, REQ_ONE), [(512, 3)])
        self.assertEqual(extents(handle, 0, 2 * MIB, REQ_ONE), [(MIB, 3)])
        self.assertEqual(extents(handle, MIB + 5, MIB, REQ_ONE), [(8187, 0)])
        self.assertEqual(extents(handle, GIB - 1, 1, REQ_ONE), [(1, 3)])
        found = extents(handle, 0, 2 * MIB)
        self.assertEqual(found[:2], [(MIB, 3), (8192, 0)])
        self.assertEqual(found[2][1], 3)
        self.assertEqual(len(found), 3)


class Errors(Case):
    def test_past_the_end(self):
        size = GIB + 7
        handle = self.connect(make_volume(self, size), strict=False)
        for offset, length in (
            (size, 1),
            (size - 1, 2),
            (size - 4096, 8192),
            (GREATEST, 1),
            ((1 << 64) - 1, 1),
            ((1 << 64) - 1, 4096),
            ((1 << 63), 1),
        ):
            with self.subTest(offset=offset, length=length):
                self.check_past(handle, offset, length)
        handle.pwrite(b"last", size - 4)
        self.assertEqual(handle.pread(5, size - 5), b"\0last")

    def check_past(self, handle, offset, length):
        refuses = self.assert_error
        refuses(errno.EINVAL, handle.pread, length, offset)
        refuses(errno.ENOSPC, handle.pwrite, bytes(length), offset)
        refuses(errno.ENOSPC, handle.zero, length, offset)
        refuses(errno.EINVAL, handle.trim, length, offset)
        refuses(errno.EINVAL, handle.cache, length, offset)
        refuses(errno.EINVAL, handle.block_status, length, offset, lambda *_: 0)

    def test_nothing_at_all_is_no_reason_to_disconnect(self):
        handle = self.connect(make_volume(self), strict=False)
        for call in (
            lambda: handle.pread(0, 0),
            lambda: handle.pwrite(b"", 0),
            lambda: handle.trim(0, 0),
            lambda: handle.zero(0, 0),
            lambda: handle.cache(0, 0),
            lambda: handle.block_status(0, 0, lambda *_: 0),
        ):
            try:
                call()
            except nbd.Error as error:
                self.assertEqual(error.errnum, errno.EINVAL)
        self.assertEqual(handle.pread(1, 0), b"\0")

    def test_payloads_to_32_mebibytes_and_no_more(self):
        handle = self.connect(make_volume(self), strict=False)
        data = random.Random(SEED).randbytes(32 * MIB)
        handle.pwrite(data, 12345)
        self.assertEqual(handle.pread(32 * MIB, 12345), data)
        self.assert_error(errno.EINVAL, handle.pwrite, data + b"x", 12345)
        self.assert_error(errno.EINVAL, handle.pwrite, data + data, 0)
        self.assert_error(errno.EINVAL, handle.pread, 32 * MIB + 1, 0)
        self.assert_error(errno.EINVAL, handle.pread, 64 * MIB, 0)
        self.assertEqual(handle.pread(32 * MIB, 12345), data)

    def test_memory_limits_are_enospc_and_change_nothing(self):
        volume = make_volume(self)
        ramvol("set", volume, "--memory-limit=8M")
        handle = self.connect(volume)
        noise = random.Random(SEED).randbytes(4 * MIB)
        handle.pwrite(noise, 0)
        self.assert_error(errno.ENOSPC, handle.pwrite, noise * 2, 8 * MIB)
        self.assertEqual(handle.pread(4 * MIB, 0), noise)
        handle.trim(4 * MIB, 0)
        handle.zero(GIB - 16 * MIB, 16 * MIB)
        handle.trim(GIB, 0)
        handle.pwrite(noise, 20 * MIB)
        self.assertEqual(handle.pread(4 * MIB, 20 * MIB), noise)

    def test_a_volume_that_shrank(self):
        volume = make_volume(self)
        handle = self.connect(volume)
        handle.pwrite(b"x", GIB - 1)
        ramvol("resize", volume, MIB, "--shrink", "--force")
        self.assert_error(errno.EINVAL, handle.pread, 1, GIB - 1)
        self.assert_error(errno.ENOSPC, handle.pwrite, b"x", GIB - 1)
        self.assertEqual(handle.pread(1, 0), b"\0")
        self.assertEqual(self.connect(volume).get_size(), MIB)

    def test_a_volume_that_grew(self):
        volume = make_volume(self, MIB)
        before = self.connect(volume, strict=False)
        ramvol("resize", volume, GIB)
        after = self.connect(volume)
        self.assertEqual((before.get_size(), after.get_size()), (MIB, GIB))
        after.pwrite(b"x", GIB - 1)
        if WAY == "bridge":
            self.assert_error(errno.EINVAL, before.pread, 1, GIB - 1)
            return
        self.assertEqual(before.pread(1, GIB - 1), b"x")
        before.pwrite(b"y", GIB - 1)
        self.assertEqual(after.pread(1, GIB - 1), b"y")


class Bytes(Case):
    def test_unaligned_requests_equal_a_byte_array(self):
        for tcp in False, True:
            handle = self.connect(make_volume(self, MIB + 5), tcp=tcp)
            choose = random.Random(SEED)
            expected = bytearray(MIB + 5)
            for step in range(1500):
                offset = choose.randrange(len(expected))
                length = min(1 + int(300000 ** choose.random()), len(expected) - offset)
                kind = choose.randrange(6)
                if kind <= 1:
                    data = choose.randbytes(length)
                    handle.pwrite(data, offset, choose.choice([0, FUA]))
                    expected[offset : offset + length] = data
                elif kind == 2:
                    flags = choose.choice([0, NO_HOLE, FUA, FUA | NO_HOLE])
                    handle.zero(length, offset, flags)
                    expected[offset : offset + length] = bytes(length)
                elif kind == 3:
                    handle.trim(length, offset)
                    # A hint elsewhere; here what is trimmed reads as zero.
                    expected[offset : offset + length] = bytes(length)
                else:
                    self.assertEqual(
                        handle.pread(length, offset),
                        expected[offset : offset + length],
                        f"step {step}: {length} bytes at {offset}",
                    )
            self.assertEqual(handle.pread(len(expected), 0), expected)

    def test_many_requests_in_flight_are_answered_each(self):
        volume = make_volume(self)
        handle = self.connect(volume)
        choose = random.Random(SEED)
        blocks = [choose.randbytes(4096 + index) for index in range(500)]
        cookies = [
            handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(block)), i * 8192)
            for i, block in enumerate(blocks)
        ]
        while handle.aio_in_flight():
            handle.poll(-1)
        self.assertTrue(all(map(handle.aio_command_completed, cookies)))
        buffers = [nbd.Buffer(len(block)) for block in blocks]
        for i, buffer in enumerate(buffers):
            handle.aio_pread(buffer, i * 8192)
        while handle.aio_in_flight():
            handle.poll(-1)
        for block, buffer in zip(blocks, buffers):
            self.assertEqual(bytes(buffer.to_bytearray()), block)

    def test_block_status_on_an_empty_volume_between_reads(self):
        # It breaks nbdkit's memory plugin with allocator=zstd.
        handle = self.connect(make_volume(self, 10 * GIB))
        for offset in range(0, 10 * GIB - GIB, 700 * MIB + 1):
            self.assertEqual(handle.pread(70000, offset), bytes(70000))
            self.assertEqual(extents(handle, offset, GIB), [(GIB, 3)])
        handle.pwrite(b"x", 5 * GIB)
        handle.trim(10 * GIB // 4, 4 * GIB)
        self.assertEqual(handle.pread(70000, 5 * GIB), bytes(70000))
        self.assertEqual(extents(handle, 5 * GIB, GIB), [(GIB, 3)])

    def test_a_zero_across_128_mebibytes_into_an_empty_region(self):
        # It loses data in nbdkit's memory plugin with allocator=zstd.
        for offset, length in (
            (128 * MIB - 40000, 80000),
            (128 * MIB - 5, 10),
            (100 * MIB + 1, 300 * MIB),
        ):
            handle = self.connect(make_volume(self))
            handle.pwrite(b"\xaa" * MIB, 127 * MIB)
            expected = bytearray(b"\xaa" * MIB + bytes(MIB))
            handle.zero(length, offset)
            begin = max(offset - 127 * MIB, 0)
            end = min(offset + length - 127 * MIB, 2 * MIB)
            expected[begin:end] = bytes(end - begin)
            self.assertEqual(handle.pread(2 * MIB, 127 * MIB), expected)
            handle.pwrite(b"\xbb" * 70000, 128 * MIB - 35000)
            expected[MIB - 35000 : MIB + 35000] = b"\xbb" * 70000
            self.assertEqual(handle.pread(2 * MIB, 127 * MIB), expected)

    def test_the_greatest_volume(self):
        handle = self.connect(make_volume(self, GREATEST))
        self.assertEqual(handle.get_size(), GREATEST)
        handle.pwrite(b"end", GREATEST - 3)
        self.assertEqual(handle.pread(5, GREATEST - 5), b"\0\0end")
        handle.zero(2**32 - 1, GREATEST - 2**32 + 1)
        self.assertEqual(handle.pread(5, GREATEST - 5), bytes(5))
        [(length, state)] = extents(handle, 0, 2**32 - 1)[:1]
        self.assertEqual((state, length >= 2**32 - 4096), (3, True))


class Options(Case):
    def test_list_shows_volumes_as_they_come_and_go(self):
        handle = options()
        first = make_volume(self)

        def listed():
            names = []
            handle.opt_list(lambda name, description: names.append(name) or 0)
            return names

        self.assertIn(first, listed())
        second = make_volume(self)
        self.assertIn(second, listed())
        ramvol("rm", second)
        self.assertNotIn(second, listed())
        self.assertIn(first, listed())
        handle.opt_abort()
        self.assertTrue(handle.aio_is_closed())

    def test_info_of_unknown_names(self):
        volume = make_volume(self, 12345)
        handle = options()
        for name in "missing", "No such name", "x" * 4096, "ä", "a/../b":
            handle.set_export_name(name)
            self.assert_error(errno.ENOENT, handle.opt_info)
            self.assert_error(errno.ENOENT, handle.opt_go)
        handle.set_export_name(volume)
        handle.opt_info()
        self.assertEqual(handle.get_size(), 12345)
        handle.set_full_info(True)
        handle.opt_info()
        handle.opt_go()
        self.assertEqual(handle.get_size(), 12345)
        self.assertEqual(handle.pread(1, 12344), b"\0")

    def test_the_empty_name_is_the_default_export(self):
        handle = options()
        self.assert_error(errno.ENOENT, handle.opt_info)
        make_volume(self, 54321, name="default")
        handle.set_full_info(True)
        handle.opt_info()
        self.assertEqual(handle.get_size(), 54321)
        self.assertEqual(handle.get_canonical_export_name(), "default")
        handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        handle.opt_go()
        self.assertEqual(extents(handle, 0, 54321)[0][1], 3)
        ramvol("write", "default", 0, "--force", stdin=b"by its name")
        self.assertEqual(handle.pread(11, 0), b"by its name")
        handle.shutdown()

    def test_contexts(self):
        volume = make_volume(self)
        handle = options(export_name=volume)

        def contexts():
            names = []
            handle.opt_list_meta_context(lambda name: names.append(name) or 0)
            return names

        self.assertEqual(contexts(), ["base:allocation"])
        handle.add_meta_context("base:")
        self.assertEqual(contexts(), ["base:allocation"])
        handle.clear_meta_contexts()
        handle.add_meta_context("x-other:thing")
        self.assertEqual(contexts(), [])
        handle.add_meta_context("base:allocation")
        self.assertEqual(contexts(), ["base:allocation"])
        handle.opt_go()
        self.assertTrue(handle.can_meta_context("base:allocation"))
        self.assertFalse(handle.can_meta_context("x-other:thing"))
        handle.shutdown()

    def test_export_name_of_old_clients(self):
        volume = make_volume(self, 12345678)
        for flags in 0, nbd.HANDSHAKE_FLAG_NO_ZEROES:
            handle = new_handle()
            handle.set_handshake_flags(flags)
            handle.set_export_name(volume)
            handle.connect_unix(SOCKET)
            self.assertEqual(handle.get_protocol(), "newstyle")
            self.assertEqual(handle.get_size(), 12345678)
            self.assertFalse(handle.can_df())
            handle.pwrite(b"old", 1)
            self.assertEqual(handle.pread(4, 0), b"\0old")
            handle.shutdown()
        handle = new_handle()
        handle.set_handshake_flags(0)
        handle.set_export_name("missing")
        with self.assertRaises(nbd.Error):
            handle.connect_unix(SOCKET)

    def test_tls_is_refused_and_clients_go_on_without(self):
        volume = make_volume(self)
        handle = new_handle()
        if not handle.supports_tls():
            self.skipTest("libnbd without TLS")
        handle.set_tls(nbd.TLS_ALLOW)
        handle.set_export_name(volume)
        handle.connect_unix(SOCKET)
        self.assertFalse(handle.get_tls_negotiated())
        self.assertEqual(handle.pread(1, 0), b"\0")
        handle.shutdown()
        handle = new_handle()
        handle.set_tls(nbd.TLS_REQUIRE)
        handle.set_export_name(volume)
        with self.assertRaises(nbd.Error):
            handle.connect_unix(SOCKET)

    def test_uris(self):
        volume = make_volume(self)
        for uri in (
            f"nbd+unix:///{volume}?socket={SOCKET}",
            f"nbd://{HOST}:{PORT}/{volume}",
        ):
            handle = new_handle()
            handle.connect_uri(uri)
            self.assertEqual(handle.get_size(), GIB)
            handle.shutdown()

    def test_newer_clients_use_extended_headers(self):
        handle = new_handle(extended=True)
        if not hasattr(handle, "get_extended_headers_negotiated"):
            return  # nbd_raw_test.py tests them.
        handle.set_export_name(make_volume(self, GREATEST))
        handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        handle.connect_unix(SOCKET)
        self.assertTrue(handle.get_extended_headers_negotiated())
        handle.pwrite(b"x", 1 << 40)
        found = []
        handle.block_status_64(
            GREATEST, 0, lambda _, __, entries, ___: found.extend(entries)
        )
        self.assertEqual(
            found[:3],
            [(1 << 40, 3), (4096, 0), (GREATEST - (1 << 40) - 4096, 3)],
        )
        handle.zero(GREATEST, 0)
        self.assertEqual(handle.pread(1, 1 << 40), b"\0")
        handle.shutdown()


if __name__ == "__main__":
    unittest.main()
