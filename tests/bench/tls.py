#!/usr/bin/python3
"""What TLS costs, and what it costs nbdkit: nbdcopy in and out, 4 KiB reads by
fio, unary reads by ghz, import and export by ramvol. Prints the medians of
docs/benchmark/tls.md. As root, on a machine that does nothing else:

    ./dev build //server:ramvold //client/cli:ramvol
    tests/bench/tls.py bazel-bin/server/ramvold bazel-bin/client/cli/ramvol
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../integration"))
from tls_files import Authority, make_keys

RAMVOLD, RAMVOL = (os.path.realpath(path) for path in sys.argv[1:3])
TOOLS = os.path.expanduser("~/.cache/ramvol/tools/bin")
os.environ["PATH"] += f":{TOOLS}"
MIB = 1 << 20
SIZE = 512 * MIB
ROUNDS = 3
WORK = tempfile.mkdtemp(prefix="ramvol-tls-bench.", dir="/dev/shm")
CA = Authority(f"{WORK}/ca")
CA.sign("server")
CA.sign("client", "alice")
KEYS = make_keys(f"{WORK}/ca/keys.psk", "alice")


os.makedirs(f"{WORK}/home/.config/pki")
shutil.copytree(CA.folder, f"{WORK}/home/.config/pki/libnbd")
subprocess.run(["chmod", "-R", "a+rX", WORK], check=True)


def run(*command, **how):
    return subprocess.run(
        command, check=True, capture_output=True, text=True, **how
    ).stdout


def seconds(*command):
    begin = time.monotonic()
    run(*command)
    return time.monotonic() - begin


def image():
    """Half of it is text of this machine, half cannot be compressed."""
    path = f"{WORK}/image"
    with open(path, "wb") as file:
        for folder, _, names in os.walk("/usr/share/doc"):
            for name in names:
                if file.tell() >= SIZE // 2:
                    break
                try:
                    with open(os.path.join(folder, name), "rb") as text:
                        file.write(text.read())
                except OSError:
                    pass
        file.truncate(min(file.tell(), SIZE // 2))
        while file.tell() < SIZE:
            file.write(os.urandom(min(16 * MIB, SIZE - file.tell())))
    return path


IMAGE = image()
SECURITIES = "none certificate key".split()


class Ramvold:
    name = "ramvold"

    def __init__(self, security):
        flags = [
            *("--listen=127.0.0.1:0", "--metrics_listen="),
            *(f"--nbd_listen=unix:{WORK}/nbd", "--memory_limit=2G"),
        ]
        if security != "none":
            flags += [
                f"--tls_cert={CA.path('server-cert.pem')}",
                f"--tls_key={CA.path('server-key.pem')}",
                f"--tls_client_ca={CA.path('ca-cert.pem')}",
                f"--nbd_tls_psk={KEYS}",
            ]
        self.process = subprocess.Popen(
            [RAMVOLD, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        ready = self.process.stdout.readline()
        self.port = int(re.search(r"127\.0\.0\.1:(\d+)", ready).group(1))
        self.flags = [f"--server=localhost:{self.port}"]
        if security != "none":
            self.flags += [
                f"--tls-ca={CA.path('ca-cert.pem')}",
                f"--tls-cert={CA.path('client-cert.pem')}",
                f"--tls-key={CA.path('client-key.pem')}",
            ]
        run(RAMVOL, *self.flags, "create", "disk", str(SIZE))

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


class Nbdkit:
    name = "nbdkit"

    def __init__(self, security):
        flags = {
            "none": ["--tls=off"],
            "certificate": [
                *("--tls=require", f"--tls-certificates={WORK}/nbdkit"),
                "--tls-verify-peer",
            ],
            "key": ["--tls=require", f"--tls-psk={KEYS}"],
        }[security]
        folder = f"{WORK}/nbdkit"
        os.makedirs(folder, exist_ok=True)
        for source in ("ca-cert.pem", "server-cert.pem", "server-key.pem"):
            shutil.copy(CA.path(source), folder)
        self.process = subprocess.Popen(
            [
                *("nbdkit", "-f", "-U", f"{WORK}/nbd", *flags),
                *("memory", str(SIZE), "allocator=zstd"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not os.path.exists(f"{WORK}/nbd"):
            time.sleep(0.01)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def uri(security, name):
    suffix = {
        "none": "",
        "certificate": f"&tls-certificates={CA.folder}",
        "key": f"&tls-psk-file={KEYS}",
    }[security]
    scheme = "nbd" if security == "none" else "nbds"
    user = "alice@" if security == "key" else "localhost" * (security != "none")
    return f"{scheme}+unix://{user}/{name}?socket={WORK}/nbd{suffix}"


def read_4k(security, name):
    """Operations a second of fio, at depth 16. libnbd finds the certificates in the
    home of who is not root, and fio can name none."""
    scheme, host = ("nbd", "") if security == "none" else ("nbds", "localhost")
    os.chmod(f"{WORK}/nbd", 0o666)
    said = run(
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        *("env", f"HOME={WORK}/home", "fio", "--name=x", "--ioengine=nbd"),
        f"--uri={scheme}+unix://{host}/{name}?socket={WORK}/nbd",
        *("--rw=randread", "--bs=4k", "--iodepth=16", f"--size={SIZE}"),
        *("--time_based", "--runtime=4", "--output-format=json"),
        cwd="/",
    )
    return json.loads(said[said.index("{") :])["jobs"][0]["read"]["iops"]


def unary(server, security):
    """Reads of 4 KiB a second, 8 callers."""
    how = ["--insecure"]
    if security != "none":
        how = [
            *("--cacert", CA.path("ca-cert.pem"), "--cert", CA.path("client-cert.pem")),
            *("--key", CA.path("client-key.pem"), "--cname", "localhost"),
        ]
    data = '{"volume":"disk","offset":4096,"length":4096}'
    said = run(
        *("ghz", *how, "--call", "ramvol.v1.BlockService/Read", "-d", data, "-c", "8"),
        *("-n", "20000", "-O", "json", f"127.0.0.1:{server.port}"),
    )
    return json.loads(said)["rps"]


def cpu_ms(process):
    """What it has used so far."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        user, system = file.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) * 1000 / os.sysconf("SC_CLK_TCK")


def copy(server, *command):
    """MiB a second, and the server's CPU in ms."""
    before = cpu_ms(server.process)
    rate = SIZE / MIB / seconds("nbdcopy", *command)
    return rate, cpu_ms(server.process) - before


def measure(make, security):
    server = make(security)
    name = "disk" if make is Ramvold else ""
    found = {}
    try:
        for _ in range(ROUNDS):
            target = uri(security, name)
            rate_in, cpu_in = copy(server, IMAGE, target)
            rate_out, cpu_out = copy(server, target, f"{WORK}/copy")
            results = {
                "nbdcopy in, MiB/s": rate_in,
                "nbdcopy out, MiB/s": rate_out,
                "nbdcopy in, server's CPU, ms": cpu_in,
                "nbdcopy out, server's CPU, ms": cpu_out,
            }
            if security != "key":
                results["4 KiB random reads a second"] = read_4k(security, name)
            if make is Ramvold and security != "key":
                results["unary reads a second"] = unary(server, security)
                results["ramvol import, MiB/s (Io)"] = (
                    SIZE
                    / MIB
                    / seconds(RAMVOL, *server.flags, "import", IMAGE, "disk", "--force")
                )
                results["ramvol export, MiB/s (Io)"] = (
                    SIZE
                    / MIB
                    / seconds(RAMVOL, *server.flags, "export", "disk", f"{WORK}/copy")
                )
            for work, figure in results.items():
                found.setdefault(work, []).append(figure)
    finally:
        server.stop()
        if os.path.exists(f"{WORK}/nbd"):
            os.unlink(f"{WORK}/nbd")
    return {work: statistics.median(figures) for work, figures in found.items()}


def main():
    print("| server | work | plain | certificates | keys |\n|---|---|---:|---:|---:|")
    for make in (Ramvold, Nbdkit):
        found = [measure(make, security) for security in SECURITIES]
        for work in found[0]:
            cells = [f"{one[work]:,.0f}" if work in one else "" for one in found]
            print(f"| {make.name} | {work} | {' | '.join(cells)} |", flush=True)


try:
    main()
finally:
    shutil.rmtree(WORK)
