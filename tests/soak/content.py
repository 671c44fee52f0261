"""What clients write: each block's bytes follow from volume, block and version.

So a model keeps one number for a block, and a block that is found where it does
not belong says where it came from. Version 0 is zeroes; the others are noise,
compressible or a pattern, by their last digit.
"""

import random
import struct

BLOCK = 4096
ZEROES = bytes(BLOCK)
KINDS = ["noise", "text", "text", "pattern", "noise", "text", "text", "text"]

_HEAD = struct.Struct(">4sIIQ")
_MAGIC = b"soak"
_POOL_BYTES = 8 << 20
_TEXT_NOISE_BYTES = 1400
_TEXT = (b"All work and no play makes Jack a dull boy. " * 100)[: BLOCK - 1400]


class Content:
    """Thread-safe: nothing changes after construction."""

    def __init__(self, seed):
        self._pool = random.Random(seed).randbytes(_POOL_BYTES + BLOCK)

    def block(self, volume, block, version):
        """The 4096 bytes of one version of a block."""
        if version == 0:
            return ZEROES
        mixed = hash((volume, block, version))
        kind = KINDS[version % len(KINDS)]
        if kind == "pattern":
            return struct.pack(">Q", mixed & (1 << 64) - 1) * (BLOCK // 8)
        start = mixed % _POOL_BYTES
        size = BLOCK if kind == "noise" else _TEXT_NOISE_BYTES
        noise = self._pool[start : start + size - _HEAD.size]
        head = _HEAD.pack(_MAGIC, volume, block, version)
        return head + noise + (b"" if kind == "noise" else _TEXT)

    def of_state(self, volume, block, state):
        """The bytes of a block that was written in layers: (version, begin, end),
        the oldest first, over zeroes."""
        if not state:
            return ZEROES
        version, begin, end = state[0]
        if begin == 0 and end == BLOCK and len(state) == 1:
            return self.block(volume, block, version)
        out = bytearray(BLOCK)
        for version, begin, end in state:
            out[begin:end] = self.block(volume, block, version)[begin:end]
        return bytes(out)


def describe(data):
    """What a whole block says of itself."""
    if data[:4] == _MAGIC and len(data) >= _HEAD.size:
        _, volume, block, version = _HEAD.unpack(data[: _HEAD.size])
        return f"begins as block {block} of volume {volume}, version {version}"
    if not any(data):
        return "is all zeroes"
    return f"begins with {data[:16].hex()}"
