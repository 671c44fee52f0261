"""What a run has seen: counts of operations, the slowest, violations."""

import collections
import threading
import time

# Of violations of the same promise, so many are told.
MOST_TOLD = 5


class Record:
    """Thread-safe."""

    def __init__(self):
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self.counts = collections.Counter()
        self.violations = []
        self.slowest = {}  # Seconds by operation.
        self._slowest_lately = 0

    def seconds(self):
        return time.monotonic() - self._start

    def count(self, name):
        with self._lock:
            self.counts[name] += 1

    def took(self, operation, seconds):
        """Of an honest client."""
        with self._lock:
            self.counts["op " + operation] += 1
            self.slowest[operation] = max(self.slowest.get(operation, 0), seconds)
            self._slowest_lately = max(self._slowest_lately, seconds)

    def take_slowest(self):
        """The most seconds since this was called last."""
        with self._lock:
            slowest, self._slowest_lately = self._slowest_lately, 0
            return slowest

    def violated(self, promise, text):
        """Notes that a promise was broken."""
        with self._lock:
            self.counts["violated " + promise] += 1
            if self.counts["violated " + promise] > MOST_TOLD:
                return
            self.violations.append(f"at {self.seconds():.1f} s: {promise}: {text}")
            print("VIOLATED", self.violations[-1], flush=True)

    def total(self, prefix):
        with self._lock:
            return sum(n for key, n in self.counts.items() if key.startswith(prefix))

    def tell(self):
        """Prints the slowest of each operation, and what else was counted."""
        for operation, seconds in sorted(self.slowest.items()):
            count = self.counts["op " + operation]
            print(f"{operation}: {count}, slowest {seconds:.2f} s")
        for name, count in sorted(self.counts.items()):
            if not name.startswith("op "):
                print(f"{name}: {count}")
