"""What is promised, and what the soak holds the server to: all its constants."""

MIB = 1 << 20

# Memory that the process takes beside its volumes, which take at most
# --memory_limit: what it holds for clients, as --client_memory is by default
# (160 MiB, or a quarter of the limit where that is more), and itself, which is
# code, threads, and what allocators keep.
CLIENT_BYTES = 160 * MIB
CLIENT_SHARE = 4
PROCESS_BYTES = 128 * MIB

# What ramvol-nbd may take: its client memory, as much again while gRPC holds the
# data, too (ARCHITECTURE.md), and itself.
BRIDGE_BYTES = 2 * 512 * MIB + PROCESS_BYTES

# What the soak itself may take, lest its own fault takes the machine's memory:
# requests, answers and models.
SOAK_BYTES = 2048 * MIB

# What stays resident beyond what was so at first, once all volumes and clients
# are gone, and what volumes may take then; and how long that may take.
REST_BYTES = 96 * MIB
EMPTY_BYTES = 4 * MIB
REST_SECONDS = 60

# Most data of a stream's unanswered operations. One operation has half of it at
# most.
WINDOW_BYTES = 32 * MIB

# Who holds memory and takes nothing is sent away after 10 s and a second for
# each 4 MiB (docs/limits.md), so that all of it is free again in 50 s. An honest
# call waits no longer; machines that do other work, too, may need twice that.
SLOW_CLIENT_SECONDS = 10 + CLIENT_BYTES / (4 * MIB)
CALL_SECONDS = 2 * SLOW_CLIENT_SECONDS

# A write is refused only when what volumes have allocated is that near to the
# limit: the rest is the reserve for compressing and for trims (limit / 256), and
# pages of slabs that nobody can move.
REFUSED_SLACK_BYTES = 4 * MIB


def resident_bytes(memory_limit):
    """What ramvold may have resident, with this limit."""
    clients = max(CLIENT_BYTES, memory_limit // CLIENT_SHARE)
    return memory_limit + clients + PROCESS_BYTES
