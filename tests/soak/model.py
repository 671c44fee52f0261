"""What each volume must hold: for every block the states that are permitted.

A state is a tuple of layers, see content.py; () is a hole. An acknowledged change
leaves one state. One whose outcome nobody knows leaves both, until the next.
"""

import threading

from content import BLOCK, KINDS, describe

_HOLE = ((),)
_MOST_STATES = 8


def layered(state, version, begin, end):
    """A state with one more layer; () when nothing but zeroes is left."""
    kept = tuple(layer for layer in state if layer[1] < begin or layer[2] > end)
    if version == 0 and not kept:
        return ()
    return kept + ((version, begin, end),)


class Volume:
    """One volume. Thread-safe.

    Whoever reads or changes a range reserves it first, so that no two operations
    under way overlap, though they may share a block or a chunk.
    """

    def __init__(self, number, name, size, content, refusable=True):
        """`refusable`: whether writes may be refused for lack of memory."""
        self.number, self.name, self.size = number, name, size
        self.refusable = refusable
        self.generation = 0  # Clients open it anew when it changes.
        self._content = content
        self._lock = threading.Lock()
        self._states = {}
        self._versions = 0
        self._reserved = []

    # Reservations.

    def reserve(self, offset, length):
        """Whether the range is the caller's now."""
        with self._lock:
            if offset + length > self.size or any(
                offset < end and begin < offset + length
                for begin, end in self._reserved
            ):
                return False
            self._reserved.append((offset, offset + length))
            return True

    def edge(self, rng):
        """Where a range that somebody has reserved ends; None if there is none."""
        with self._lock:
            return rng.choice(self._reserved)[1] if self._reserved else None

    def release(self, offset, length):
        with self._lock:
            self._reserved.remove((offset, offset + length))

    # Changes, by those who have reserved the range.

    def new_data(self, offset, length, kind):
        """A version that was never written, and its bytes of the range."""
        with self._lock:
            self._versions += 1
            version = self._versions * len(KINDS) + kind
        parts = [
            self._content.block(self.number, block, version)[begin:end]
            for block, begin, end in _pieces(offset, length)
        ]
        return version, b"".join(parts)

    def changed(self, offset, length, version, certain):
        """The range holds `version` now, 0 for zeroes; or it may, unless certain."""
        with self._lock:
            for block, begin, end in _pieces(offset, length):
                old = self._states.get(block, _HOLE)
                new = {layered(state, version, begin, end) for state in old}
                if not certain:
                    new |= set(old)
                if len(new) > _MOST_STATES:
                    raise AssertionError(
                        f"block {block} of {self.name} has {len(new)} states"
                    )
                if new == {()}:
                    self._states.pop(block, None)
                else:
                    self._states[block] = tuple(new)

    def resized(self, size):
        """All of it must be reserved, or be of no other client."""
        with self._lock:
            old, self.size = self.size, size
            self.generation += 1
            last = -(-size // BLOCK)
            for block in [block for block in self._states if block >= last]:
                del self._states[block]
        # What was cut off reads as zero when the volume grows again.
        if size < old and size % BLOCK:
            self.changed(size, BLOCK - size % BLOCK, 0, certain=True)

    # What was read, by those who have reserved the range.

    def settle(self, offset, data):
        """Of what may be there, leaves what was found; as mismatch()."""
        wrong = self.mismatch(offset, data)
        if wrong:
            return wrong
        with self._lock:
            for block, begin, end in _pieces(offset, len(data)):
                at = block * BLOCK + begin - offset
                found = data[at : at + end - begin]
                states = self._states.get(block, _HOLE)
                if len(states) > 1:
                    self._states[block] = tuple(
                        state
                        for state in states
                        if self._bytes(block, state)[begin:end] == found
                    )
        return None

    def _bytes(self, block, state):
        return self._content.of_state(self.number, block, state)

    def mismatch(self, offset, data):
        """None, or which block differs, and how."""
        for block, begin, end in _pieces(offset, len(data)):
            at = block * BLOCK + begin - offset
            found = data[at : at + end - begin]
            states = self._states.get(block, _HOLE)
            if not any(
                found == self._bytes(block, state)[begin:end] for state in states
            ):
                return (
                    f"bytes {begin} to {end} of block {block} of volume "
                    f"{self.name} (number {self.number}): {describe(found)}; "
                    f"permitted are {states}"
                )
        return None


def _pieces(offset, length):
    """The blocks of a range, each with the begin and end within it."""
    end = offset + length
    while offset < end:
        block, begin = divmod(offset, BLOCK)
        stop = min(BLOCK, begin + end - offset)
        yield block, begin, stop
        offset += stop - begin
