"""The scenario `full`: a server filled to its limit, then left nearly alone.

fio writes 4 KiB at random until ENOSPC. Then one existing block is overwritten
each tenth of a second, while what is cold is merged: memory used must stay
within the limit, and no overwrite may be refused while what is allocated is
well below it.
"""

import random
import subprocess
import time

import nbd

import bounds
from memory_watch import MemoryWatch

VOLUME = "full"
VOLUME_BYTES = 1 << 30
BLOCK = 4096
COMPRESSIBLE_PERCENT = 65
WRITE_EVERY_SECONDS = 0.1


def fill(servers, seed, seconds):
    """Until a write is refused, or for so long."""
    fio = subprocess.run(
        [
            "fio",
            "--name=fill",
            "--ioengine=nbd",
            f"--uri={servers.uri(VOLUME)}",
            f"--size={VOLUME_BYTES}",
            "--rw=randwrite",
            "--bs=4k",
            "--iodepth=8",
            f"--buffer_compress_percentage={COMPRESSIBLE_PERCENT}",
            "--buffer_compress_chunk=4k",
            "--time_based",
            f"--runtime={seconds}",
            f"--randseed={seed}",
            "--eta=never",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if fio.returncode and "No space left" not in fio.stdout:
        raise AssertionError(f"fio ended with {fio.returncode}: {fio.stdout}")


def written_blocks(handle):
    """Offsets of the blocks that hold something."""
    found = []
    position = 0
    while position < VOLUME_BYTES:
        end = [position]

        def add(_context, offset, entries, _error):
            for length, flags in zip(entries[::2], entries[1::2]):
                if not flags & nbd.STATE_HOLE:
                    found.extend(range(offset, offset + length, BLOCK))
                offset += length
            end[0] = offset
            return 0

        handle.block_status(min(1 << 30, VOLUME_BYTES - position), position, add)
        position = end[0]
    return found


def compressible(rng):
    noise = BLOCK * (100 - COMPRESSIBLE_PERCENT) // 100
    return rng.randbytes(noise) + bytes(BLOCK - noise)


def overwrite(handle, blocks, rng, watch, record):
    """One block that exists; whether the server took it."""
    began = time.monotonic()
    try:
        handle.pwrite(compressible(rng), rng.choice(blocks))
    except nbd.Error as error:
        if error.errno != "ENOSPC":
            raise
        record.count("refused overwrite")
        return check_refused(watch.look(), record)
    record.took("overwrite", time.monotonic() - began)


def check_refused(sample, record):
    slack = sample.limit - sample.allocated
    if slack > bounds.REFUSED_SLACK_BYTES:
        record.violated(
            "a write is refused only when there is no memory",
            f"4 KiB over an existing block: {sample.allocated} bytes are "
            f"allocated, {slack} below the limit; {sample.used} are used",
        )


def run(settings, servers, record, sheet):
    """Raises for what should never happen; `record` has what was promised."""
    rng = random.Random(settings.seed)
    subprocess.run(
        [servers.ramvol, "--server=" + servers.grpc_unix, "create", VOLUME]
        + [str(VOLUME_BYTES)],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    watch = MemoryWatch(servers, record, sheet)
    try:
        fill(servers, settings.seed % (1 << 31), settings.fill_seconds)
        print(f"filled after {record.seconds():.1f} s: {watch.look()}", flush=True)
        handle = nbd.NBD()
        handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        handle.connect_uri(servers.uri(VOLUME))
        blocks = written_blocks(handle)
        end = time.monotonic() + settings.seconds
        while time.monotonic() < end:
            overwrite(handle, blocks, rng, watch, record)
            time.sleep(WRITE_EVERY_SECONDS)
        handle.shutdown()
    finally:
        watch.stop()
    print(
        f"full: at most {watch.most_over_limit} bytes over the limit; "
        f"{record.counts['refused overwrite']} of "
        f"{record.counts['op overwrite'] + record.counts['refused overwrite']} "
        f"overwrites were refused"
    )
