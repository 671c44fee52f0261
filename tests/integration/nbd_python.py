"""What the Python tests of the NBD bridges share: volumes and the environment.

nbd_python_test.sh sets the environment and says what is in it.
"""

import itertools
import json
import os
import random
import subprocess

SOCKET = os.environ["NBD_SOCKET"]
HOST = os.environ["NBD_HOST"]
PORT = int(os.environ["NBD_PORT"])
PID = int(os.environ["NBD_PID"])
WAY = os.environ["NBD_WAY"]

MIB = 1 << 20
GIB = 1 << 30
GREATEST = (1 << 63) - 1

SEED = int(os.environ.get("NBD_SEED", random.SystemRandom().randrange(1 << 32)))
print(f"NBD_SEED={SEED}", flush=True)

_numbers = itertools.count(1)


def ramvol(*arguments, stdin=b""):
    """Runs the command line; what it printed. Failure raises."""
    return subprocess.run(
        [os.environ["RAMVOL"], *map(str, arguments)],
        input=stdin,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout


def stat(volume):
    return json.loads(ramvol("stat", volume, "--output=json"))


def logical_bytes(volume):
    return int(stat(volume)["logicalBytes"])


def make_volume(test, size=GIB, name=None):
    """Makes a volume that goes away when the test ends; its name."""
    name = name or f"volume{next(_numbers)}"
    ramvol("create", name, size)
    test.addCleanup(
        subprocess.run,
        [os.environ["RAMVOL"], "rm", "--force", name],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return name
