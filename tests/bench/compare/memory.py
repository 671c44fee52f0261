"""What servers hold in memory: over an image, after a trim, over nothing."""

import time

import copies
import loads
import plan

GREATEST = (1 << 63) - 1
BLOCK = 4 * plan.KIB
_TRIM_BYTES = plan.GIB
# Freed memory goes back to the system within this time.
_SETTLE_SECONDS = 3
_SERVERS = (plan.RAMVOLD, plan.NBDKIT_ZSTD, plan.NBDKIT_SPARSE)


def _connect(server):
    import nbd

    handle = nbd.NBD()
    handle.connect_uri(server.uri)
    return handle


def trim_all(server):
    """Trims the whole disk, by the way that each server's users have."""
    if server.name in plan.OURS:
        server.ramvol("trim", "disk", "--all")
        return
    handle = _connect(server)
    for offset in range(0, server.size, _TRIM_BYTES):
        handle.trim(min(_TRIM_BYTES, server.size - offset), offset)
    handle.shutdown()


def half_random_block(number):
    """A block of which half compresses away, other in each call."""
    import random

    return random.Random(number).randbytes(BLOCK // 2) + b"\1" * (BLOCK // 2)


def write_distant(server, regions):
    """Writes one block in each of so many regions, far from each other."""
    handle = _connect(server)
    stride = server.size // regions // BLOCK * BLOCK
    for number in range(regions):
        handle.pwrite(half_random_block(number), number * stride)
    handle.flush()
    handle.shutdown()


def _stat(server, field):
    if server.name not in plan.OURS:
        return None
    return int(server.stat()[field])


def _over_image(settings, factory, name, image):
    figures = {}
    with factory.make(name, settings.image_bytes) as server:
        figures["rss_start_bytes"] = server.rss_bytes()
        copies.timed(server, ["nbdcopy", image, server.uri])
        figures["rss_filled_bytes"] = server.rss_bytes()
        time.sleep(settings.rest_seconds)
        figures["rss_rested_bytes"] = server.rss_bytes()
        figures["rss_before_trim_bytes"] = figures["rss_rested_bytes"]
        if name in plan.OURS:
            figures.update(_stored(server, figures["rss_rested_bytes"]))
        trim_all(server)
        time.sleep(min(_SETTLE_SECONDS, settings.rest_seconds))
        figures["rss_trimmed_bytes"] = server.rss_bytes()
    figures["left_after_trim"] = (
        figures["rss_trimmed_bytes"] / figures["rss_before_trim_bytes"]
    )
    return figures


def _stored(server, resident):
    stat = server.stat()
    stored = int(stat["storedBytes"])
    return {
        "stored_bytes": stored,
        "memory_bytes": int(stat["memoryBytes"]),
        "stored_ratio": stat.get("ratio"),
        "resident_over_stored": resident / stored if stored else None,
        "stat": stat,
    }


def _over_nothing(settings, factory, name):
    """A disk of the greatest size: empty, then with distant blocks."""
    figures = {}
    with factory.make(name, plan.MIB) as small:
        base = small.rss_bytes()
    with factory.make(name, GREATEST) as server:
        empty = server.rss_bytes()
        figures["empty_rss_bytes"] = max(0, empty - base)
        figures["empty_memory_bytes"] = _stat(server, "memoryBytes")
        _connect(server).shutdown()
        before = server.rss_bytes()
        write_distant(server, settings.distant_regions)
        each = settings.distant_regions
        figures["distant_rss_bytes"] = (server.rss_bytes() - before) / each
        memory = _stat(server, "memoryBytes")
        figures["distant_memory_bytes"] = memory and memory / each
    return figures


def measure(settings, factory, image):
    """Figures by server."""
    results = {}
    for name in _SERVERS:
        if name not in settings.servers:
            continue
        loads.progress(f"memory: {name}")
        results[name] = {
            **_over_image(settings, factory, name, image),
            **_over_nothing(settings, factory, name),
        }
    return results
