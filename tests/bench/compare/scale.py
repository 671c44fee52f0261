"""How cost grows with volumes, size, connections, cores and time."""

PARTS = {}
