"""ramvold, ramvol-nbd with a way to it that can be cut, and ramvol-csi."""

import os
import re
import signal
import subprocess

from prometheus import PATIENCE, free_port


class Programs:
    """All programs with the smallest limits that let everything happen: errors
    for lack of memory, a full hot cache, volumes without series of their own."""

    def __init__(self, folder, sockets, ramvold, ramvol, bridge, csi, csi_proto):
        self.folder, self.sockets, self.ramvol = folder, sockets, ramvol
        self.csi_proto = csi_proto
        self.started = []
        self.way = None
        self.way_port = free_port()
        ready = self._start(
            "ramvold",
            ramvold,
            f"--listen=unix:{sockets}/grpc",
            f"--nbd_listen=unix:{sockets}/nbd",
            f"--vhost_user_dir={sockets}/guests",
            "--metrics_listen=127.0.0.1:0",
            "--memory_limit=256M",
            "--hot_cache=8M",
            "--metrics_max_volumes=6",
        )
        self.ramvold_metrics = metrics_address(ready)
        self.mend_way()
        ready = self._start(
            "ramvol-nbd",
            bridge,
            f"--server=127.0.0.1:{self.way_port}",
            f"--listen=unix:{sockets}/bridge",
            "--metrics_listen=127.0.0.1:0",
            "--reconnect_timeout=1s",
        )
        self.bridge_metrics = metrics_address(ready)
        # What a driver that was killed left, and the next one cleans up.
        labels = ["csi-handle=gone", "csi-node=node-1", "csi-ephemeral=/pods/gone"]
        self.cli("create", "gone", "1M", *(f"--label={label}" for label in labels))
        broken = os.path.join(folder, "bin")
        os.mkdir(broken)
        with open(os.path.join(broken, "setsid"), "w") as script:
            script.write("#!/bin/sh\necho no process here >&2\nexit 1\n")
            os.fchmod(script.fileno(), 0o755)
        ready = self._start(
            "ramvol-csi",
            "env",
            f"PATH={broken}:{os.environ['PATH']}",
            csi,
            f"--endpoint=unix:{sockets}/csi",
            "--node_id=node-1",
            f"--ramvold=unix:{sockets}/grpc",
            f"--state_dir={sockets}/volumes",
            "--attach=fuse",
            "--overcommit=100",
            "--metrics_listen=127.0.0.1:0",
        )
        self.csi_metrics = metrics_address(ready)

    def _start(self, name, *command):
        with open(os.path.join(self.folder, name + ".err"), "w") as log:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.started.append(process)
        ready = process.stdout.readline()
        assert "ready" in ready, f"{name} is not ready: see {log.name}"
        return ready

    def uri(self, volume, way="nbd"):
        """`way` is nbd, ramvold's own listener, or bridge."""
        return f"nbd+unix:///{volume}?socket={self.sockets}/{way}"

    def cut_way(self):
        os.killpg(self.way.pid, signal.SIGKILL)
        self.way.wait()
        self.way = None

    def mend_way(self):
        self.way = subprocess.Popen(
            [
                "socat",
                f"TCP-LISTEN:{self.way_port},bind=127.0.0.1,reuseaddr,nodelay,fork",
                f"UNIX-CONNECT:{self.sockets}/grpc",
            ],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def cli(self, *arguments, data=b"", check=True):
        """Runs ramvol; what it printed."""
        done = subprocess.run(
            [self.ramvol, f"--server=unix:{self.sockets}/grpc", *arguments],
            input=data,
            capture_output=True,
        )
        assert done.returncode == 0 or not check, (arguments, done.stderr)
        return done.stdout

    def grpcurl(self, method, request, check=True):
        done = subprocess.run(
            ["grpcurl", "-plaintext", "-unix", "-d", request]
            + [f"{self.sockets}/grpc", f"ramvol.v1.{method}"],
            capture_output=True,
        )
        assert done.returncode == 0 or not check, (method, done.stderr)

    def csi(self, method, request, check=True):
        """Calls the driver as Kubernetes does."""
        folder, name = os.path.split(self.csi_proto)
        done = subprocess.run(
            ["grpcurl", "-plaintext", "-unix", "-import-path", folder, "-proto", name]
            + ["-d", request, f"{self.sockets}/csi", f"csi.v1.{method}"],
            capture_output=True,
        )
        assert done.returncode == 0 or not check, (method, done.stderr)

    def stop(self):
        """All must end cleanly."""
        for process in reversed(self.started):
            process.terminate()
        codes = [process.wait(timeout=PATIENCE) for process in self.started]
        if self.way:
            self.cut_way()
        assert not any(codes), f"ramvold, ramvol-nbd and ramvol-csi ended with {codes}"


def metrics_address(ready):
    return re.search(r"metrics http://([^/]*)/metrics", ready).group(1)
