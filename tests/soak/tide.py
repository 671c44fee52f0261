"""What honest clients do at which time: they fill, go quiet, work and drain.

Memory is in danger when it is nearly full and clients go quiet: then everything
cold is merged at once.
"""

import random
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    seconds: tuple  # From, to.
    weights: dict  # Of kinds of operations.
    pause: float = 0  # Most seconds between two batches.
    small: float = 0.5  # Share of operations of one block.
    most_bytes: int = 16 << 20


FILL = Phase((8, 12), dict(write=85, read=10, trim=1, zero=1, flush=3))
QUIET = Phase((4, 15), dict(write=50, read=45, trim=5), pause=0.3, small=0.9)
WORK = Phase((8, 20), dict(write=45, read=40, trim=8, zero=5, flush=2))
DRAIN = Phase((2, 5), dict(write=10, read=30, trim=60), small=0.1)
_FIRST = [FILL, QUIET, WORK]


class Tide:
    """Thread-safe: the phases follow from the seed and the time alone."""

    def __init__(self, seed, seconds):
        rng = random.Random(f"tide {seed}")
        self._start = time.monotonic()
        self._ends = []
        end, phases = 0, iter(_FIRST)
        while end < seconds:
            phase = next(phases, None) or rng.choice(
                [FILL, FILL, QUIET, QUIET, WORK, DRAIN]
            )
            end += rng.uniform(*phase.seconds)
            self._ends.append((end, phase))

    def phase(self):
        now = time.monotonic() - self._start
        return next((p for end, p in self._ends if now < end), QUIET)
