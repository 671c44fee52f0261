#!/usr/bin/python3
"""ramvol-csi, ramvold with --state_dir, and the process behind a device, killed at every step of a volume's
way into a pod and back. A kubelet repeats its calls; then the volume is there, what was
written is, and at the end nothing is left: no device, mount, process, folder or volume.

The steps are the programs that the driver runs: wrappers on its PATH kill before and
after each. Then kills come at random times.
Arguments: the paths of csi.proto, ramvold, ramvol and ramvol-csi. CSI_SEED=N repeats a
run, CSI_ROUNDS=N makes it longer."""

import contextlib
import os
import random
import shutil
import sys
import threading
import time

import csi_client
import csi_node
import grpc
from csi_node import MIB

SEED = int(os.environ.get("CSI_SEED", random.SystemRandom().randrange(1 << 32)))
ROUNDS = int(os.environ.get("CSI_ROUNDS", "5"))
RNG = random.Random(SEED)
# losetup first says which device is free; mount --bind shows it to the pod.
STEPS = "setsid losetup--find losetup mkfs.ext4 e2fsck mount mount--bind umount".split()
# Of a clone that is larger than its source.
CLONE_STEPS = "e2fsck mount resize2fs".split()
WRAPPER = """#!/bin/bash
# Kills before or after the program that it stands for, once.
at() {{
  local step victim
  [[ -s {plan} ]] && read -r step victim <{plan} && [[ $step == "$1" ]] || return
  rm {plan}
  case $victim in
    fuse) pkill -KILL -f "^[^ ]*ramvol-csi .*--serve_file={folder}/" ;;
    *) kill -KILL "$(<{folder}/$victim.pid)" ;;
  esac
  [[ $victim != driver ]] || exit 1
}}
step={name}
[[ $1 != --find && $1 != --bind ]] || step+=$1
at "$step:before"
{real} "$@"
code=$?
at "$step:after"
exit $code
"""


class Kubelet:
    """Repeats calls until they succeed, and starts what was killed again: ramvold at
    once, since what waits for it does not fail, and the driver when a call fails."""

    def __init__(self, node, messages):
        self.node = node
        self.messages = messages
        self.client = csi_client.Client(node.endpoint, messages, timeout=30)
        self.repeated = 0
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.watch = threading.Thread(target=self.watch_server)

    def __enter__(self):
        self.note("ramvold", self.node.server)
        self.note("driver", self.node.driver)
        self.watch.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.watch.join()
        self.client.close()

    def watch_server(self):
        while not self.over.wait(0.05):
            self.revive_server()

    def revive_server(self):
        with self.lock:
            if not self.node.server.is_running():
                self.node.server.process.stdout.close()
                self.node.start_server()
                self.note("ramvold", self.node.server)

    def revive(self):
        self.revive_server()
        if not self.node.driver.is_running():
            self.node.driver.process.stdout.close()
            self.node.start_driver()
            self.note("driver", self.node.driver)

    def note(self, name, program):
        with open(f"{self.node.folder}/{name}.pid", "w", encoding="utf-8") as file:
            file.write(str(program.process.pid))

    def call(self, method, **fields):
        # Some calls may each take all of their time.
        end = time.monotonic() + 3 * csi_node.PATIENCE
        while True:
            try:
                return getattr(self.client, method)(**fields)
            except grpc.RpcError as error:
                if time.monotonic() > end:
                    raise AssertionError(f"{method}: {error.details()}") from error
                self.repeated += 1
            self.revive()
            time.sleep(0.02)


def make_wrappers(node):
    os.makedirs(f"{node.folder}/bin", exist_ok=True)
    for name in {step.partition("--")[0] for step in STEPS + CLONE_STEPS}:
        path = f"{node.folder}/bin/{name}"
        real = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        with open(path, "w", encoding="utf-8") as file:
            file.write(
                WRAPPER.format(
                    plan=f"{node.folder}/plan", name=name, real=real, folder=node.folder
                )
            )
        os.chmod(path, 0o755)


class Life:
    """One volume: made, used twice, the second time to be read only, deleted."""

    def __init__(self, kubelet, name, is_inline=False, is_clone=False):
        self.kubelet = kubelet
        self.is_clone = is_clone
        # What is called before the volume is used for the second time.
        self.between = lambda: None
        self.id = "csi-" + name.encode().hex().ljust(64, "0") if is_inline else name
        self.is_inline = is_inline
        folder = kubelet.node.folder
        self.staging = f"{folder}/staging/{name}"
        self.target = f"{folder}/pods/{name}/volume"
        os.makedirs(self.staging, exist_ok=True)
        os.makedirs(os.path.dirname(self.target), exist_ok=True)

    def start(self, readonly=False):
        common = {
            "volume_id": self.id,
            "volume_capability": self.kubelet.client.capability(),
        }
        context = {"csi.storage.k8s.io/ephemeral": "true", "size": "300Mi"}
        if not self.is_inline:
            context = {}
            self.kubelet.call(
                "NodeStageVolume", staging_target_path=self.staging, **common
            )
        self.kubelet.call(
            "NodePublishVolume",
            staging_target_path=self.staging,
            target_path=self.target,
            volume_context=context,
            readonly=readonly,
            **common,
        )

    def size(self):
        return (600 if self.is_clone else 300) * MIB

    def check(self, readonly):
        """Whether it is there as it was wanted; inodes take a part of the size."""
        info = os.statvfs(self.target)
        assert bool(info.f_flag & os.ST_RDONLY) == readonly, info
        assert info.f_blocks * info.f_frsize > self.size() * 0.8, info

    def stop(self):
        self.kubelet.call(
            "NodeUnpublishVolume", volume_id=self.id, target_path=self.target
        )
        if not self.is_inline:
            self.kubelet.call(
                "NodeUnstageVolume", volume_id=self.id, staging_target_path=self.staging
            )

    def write(self, content):
        """False when the device is dead: the pod gets errors, and has to go."""
        try:
            with open(f"{self.target}/file", "wb") as file:
                file.write(content)
                os.fsync(file.fileno())
            descriptor = os.open(self.target, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        except OSError:
            return False
        return True

    def read(self):
        try:
            with open(f"{self.target}/file", "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""
        except OSError:
            return None

    def run(self):
        if not self.is_inline:
            golden = {"volume_content_source": {"snapshot": {"snapshot_id": "golden"}}}
            self.kubelet.call(
                "CreateVolume",
                name=self.id,
                capacity_range={"required_bytes": self.size()},
                volume_capabilities=[self.kubelet.client.capability()],
                **(golden if self.is_clone else {}),
            )
        content = RNG.randbytes(64) * 4096
        self.start()
        while not self.write(content):
            self.stop()
            self.start()
        self.check(readonly=False)
        if not self.is_inline:
            self.stop()
            self.between()
            self.start(readonly=True)
            while (found := self.read()) is None:
                self.stop()
                self.start(readonly=True)
            self.check(readonly=True)
            assert found == content, f"{self.id}: {len(found)} bytes, others"
        self.stop()
        if not self.is_inline:
            self.kubelet.call("DeleteVolume", volume_id=self.id)


def check_clean(kubelet, what):
    """Also a driver that starts anew finds nothing to do."""
    kubelet.revive()
    node = kubelet.node
    csi_node.wait_until(f"{what}: {node.left()}", lambda: not node.left())
    assert node.volumes() == [], f"{what}: {node.volumes()}"


def make_golden(kubelet):
    """A snapshot of a file system that clones are larger than."""
    client = kubelet.client
    client.CreateVolume(
        name="base",
        capacity_range={"required_bytes": 300 * MIB},
        volume_capabilities=[client.capability()],
    )
    base = Life(kubelet, "base")
    base.start()
    base.stop()
    client.CreateSnapshot(name="golden", source_volume_id="base")
    client.DeleteVolume(volume_id="base")


def kill_at_each_step(kubelet):
    """Both before and after each step."""
    node = kubelet.node
    plan = f"{node.folder}/plan"
    count = 0
    for step, is_clone in [(step, False) for step in STEPS] + [
        (step, True) for step in CLONE_STEPS
    ]:
        for when in ("before", "after"):
            for victim in ("driver", "ramvold", "fuse"):
                what = f"{victim} killed {when} {step}{' of a clone' * is_clone}"
                # Volumes of the pod itself have no step to be shown to it.
                is_inline = count % 2 == 1 and not is_clone and step != "mount--bind"
                life = Life(kubelet, f"step-{count}", is_inline, is_clone)

                def arm(line=f"{step}:{when} {victim}\n"):
                    with open(plan, "w", encoding="utf-8") as file:
                        file.write(line)

                if step == "mount--bind":
                    life.between = arm
                else:
                    arm()
                life.run()
                done = not os.path.exists(plan)
                # e2fsck has only what is staged a second time.
                assert done or (step == "e2fsck" and is_inline), f"{what}: never came"
                with contextlib.suppress(FileNotFoundError):
                    os.remove(plan)
                check_clean(kubelet, what)
                count += 1
    print(f"{count} kills at steps; {kubelet.repeated} calls repeated", flush=True)


def kill_at_random(kubelet):
    node = kubelet.node
    for i in range(ROUNDS):
        life = Life(kubelet, f"random-{i}", is_inline=RNG.random() < 0.3)
        victim = RNG.choice(["driver", "ramvold"])
        killed = []

        def kill(victim=victim, killed=killed):
            killed.append(node.driver if victim == "driver" else node.server)
            killed[0].process.kill()

        timer = threading.Timer(RNG.uniform(0, 0.5), kill)
        timer.start()
        life.run()
        timer.join()
        killed[0].process.wait()
        check_clean(kubelet, f"round {i}, {victim}")
    print(f"{ROUNDS} kills at random; {kubelet.repeated} calls repeated", flush=True)


def probe_without_ramvold(kubelet):
    """Nothing is gained by restarting the driver, as livenessprobe does with one that
    is not ready."""
    with kubelet.lock:
        kubelet.node.server.kill()
        assert kubelet.client.Probe().ready.value


def main():
    csi_node.own_mounts()
    print(f"CSI_SEED={SEED}", flush=True)
    messages = csi_client.load(os.path.realpath(sys.argv[1]))
    with csi_node.Node(*sys.argv[2:5], state_dir=True) as node:
        make_wrappers(node)
        node.start_server()
        node.start_driver()
        with Kubelet(node, messages) as kubelet:
            probe_without_ramvold(kubelet)
            kubelet.revive()
            make_golden(kubelet)
            kill_at_each_step(kubelet)
            kill_at_random(kubelet)
    print("PASSED")


if __name__ == "__main__":
    main()
