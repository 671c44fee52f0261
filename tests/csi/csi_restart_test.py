#!/usr/bin/python3
"""ramvold is stopped or killed, and started again, under pods that use its volumes:
fio verifies what it wrote, in a file system and in a block device, and sees no error.
Prints the pauses. The driver is killed meanwhile, too. Then what does end: a ramvold that
never returns, after --reconnect_timeout, and volumes that it has no more, at once. A
driver that starts before ramvold cleans up later, and one that trims ends all the same.
Arguments: the paths of csi.proto, ramvold, ramvol and ramvol-csi. CSI_SEED=N repeats a
run, CSI_ROUNDS=N makes it longer."""

import concurrent.futures
import contextlib
import copy
import errno
import mmap
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import threading
import time

import csi_client
import csi_node
import grpc
from csi_file_systems import STOPPED, has_stopped, make_folder, says_that_it_is_dead
from csi_node import GIB, MIB

SEED = int(os.environ.get("CSI_SEED", random.SystemRandom().randrange(1 << 32)))
ROUNDS = int(os.environ.get("CSI_ROUNDS", "4"))
RNG = random.Random(SEED)
# What the second driver gives requests.
SHORT_TIMEOUT = 3


def direct_page(content):
    """Aligned, as O_DIRECT wants it."""
    page = mmap.mmap(-1, 4096)
    page.write(content.ljust(4096, b"."))
    return page


class Heartbeat(threading.Thread):
    """Writes and reads a page again and again, past all caches, and knows the longest
    time that this took."""

    def __init__(self, path, offset=0):
        super().__init__(daemon=True)
        self.path = path
        self.offset = offset
        self.longest = 0.0
        self.beats = 0
        self.error = None
        self.over = threading.Event()

    def run(self):
        descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o600)
        found = mmap.mmap(-1, 4096)
        try:
            while not self.over.wait(0.001):
                begin = time.monotonic()
                page = direct_page(b"beat %d " % self.beats)
                os.pwrite(descriptor, page, self.offset)
                os.preadv(descriptor, [found], self.offset)
                assert found[:] == page[:], f"beat {self.beats}: {found[:20]}"
                self.longest = max(self.longest, time.monotonic() - begin)
                self.beats += 1
        except (OSError, AssertionError) as error:
            self.error = error
        finally:
            os.close(descriptor)

    def take_longest(self):
        longest, self.longest = self.longest, 0.0
        return longest


def start_fio(node, name, path, seconds, direct=True):
    """Writes and verifies for so long."""
    return subprocess.Popen(
        [
            *("fio", f"--name={name}", f"--filename={path}", "--size=96M"),
            *("--ioengine=libaio", "--iodepth=8", f"--direct={int(direct)}"),
            *("--rw=randrw", "--bsrange=4k-64k", "--fsync=64", "--rate=4m"),
            *("--verify=crc32c", "--verify_fatal=1", "--verify_backlog=256"),
            *("--verify_state_save=0", f"--randseed={RNG.randrange(1 << 15)}"),
            *("--time_based", f"--runtime={seconds}", "--eta=never"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=node.folder,
    )


def restart(node, client, round_number, beats):
    """Odd rounds kill it."""
    violent = round_number % 2 == 1
    for beat in beats:
        beat.take_longest()
    begin = time.monotonic()
    if violent:
        node.server.kill()
    else:
        assert node.server.stop() == 0
    stopped = time.monotonic()
    # A rolling update takes a while to start the next one.
    time.sleep(RNG.choice([0, RNG.uniform(0, 1)]))
    again = time.monotonic()
    node.start_server()
    ready = time.monotonic()
    if RNG.random() < 0.5:
        node.driver.kill()
        node.start_driver()
        client.await_driver()
    # Each has gone on after the restart.
    goals = [(beat, beat.beats + 3) for beat in beats]
    csi_node.wait_until(
        "heartbeats",
        lambda: all(beat.beats >= goal or beat.error for beat, goal in goals),
    )
    assert not any(beat.error for beat in beats), [beat.error for beat in beats]
    longest = max(beat.take_longest() for beat in beats)
    print(
        f"{'kill -9' if violent else 'SIGTERM'}: ended in {stopped - begin:.2f} s, away for "
        f"{again - stopped:.2f} s, ready in {ready - again:.2f} s; pause {longest:.2f} s, "
        f"{longest - (ready - begin):.2f} s beyond ramvold's",
        flush=True,
    )


def go_on_across_restarts(node, client):
    volumes = {"files": False, "block": True}
    pods = {}
    for name, block in volumes.items():
        client.CreateVolume(
            name=name,
            capacity_range={"required_bytes": GIB},
            volume_capabilities=[client.capability(block=block)],
        )
        pods[name] = csi_client.Pod(node, client, name, block=block).start()
    files, block = pods["files"].target, pods["block"].target
    # The end of the device is not fio's.
    beats = [Heartbeat(f"{files}/beat"), Heartbeat(block, GIB - 4096)]
    for beat in beats:
        beat.start()
    seconds = 4 * ROUNDS
    runs = [
        start_fio(node, "direct", f"{files}/direct", seconds),
        start_fio(node, "cached", f"{files}/cached", seconds, direct=False),
        start_fio(node, "block", block, seconds),
    ]
    rounds = 0
    while any(run.poll() is None for run in runs) or rounds < ROUNDS:
        time.sleep(RNG.uniform(0.3, 1.5))
        restart(node, client, rounds, beats)
        rounds += 1
    for beat in beats:
        beat.over.set()
        beat.join()
        assert beat.error is None, beat.error
    for run in runs:
        report = run.communicate()[0]
        assert run.returncode == 0 and "err= 0" in report, report
        print(*re.findall(r".*(?:READ|WRITE): .*", report), sep="\n", flush=True)
    print(
        f"{rounds} restarts, {sum(beat.beats for beat in beats)} heartbeats", flush=True
    )
    grow(client, pods["block"])
    for pod in pods.values():
        pod.end()
        client.DeleteVolume(volume_id=pod.id)


def grow(client, pod):
    """A device that has seen restarts still grows while it is used."""
    with open(pod.target, "rb") as device:
        client.ControllerExpandVolume(
            volume_id=pod.id, capacity_range={"required_bytes": 3 * GIB}
        )
        client.NodeExpandVolume(volume_id=pod.id, volume_path=pod.target)
        assert device.seek(0, os.SEEK_END) == 3 * GIB


def fails_with_eio(call):
    """How many seconds it took."""
    begin = time.monotonic()
    try:
        call()
    except OSError as error:
        assert error.errno == errno.EIO, error
        return time.monotonic() - begin
    raise AssertionError("it succeeded")


class Device:
    """A block device, past all caches."""

    def __init__(self, path, mode=os.O_RDWR):
        self.descriptor = os.open(path, mode | os.O_DIRECT)

    def write(self, content, offset=0):
        os.pwrite(self.descriptor, direct_page(content), offset)

    def read(self, offset=0):
        page = mmap.mmap(-1, 4096)
        os.preadv(self.descriptor, [page], offset)
        return page[:].rstrip(b".")

    def close(self):
        os.close(self.descriptor)


def fail_when_it_stays_away(node, client, pod):
    device = Device(pod.target)
    device.write(b"before")
    # Its way to ramvold is lost before that has ended.
    start = time.monotonic()
    node.server.stop()
    fails_with_eio(lambda: device.write(b"lost", 8192))
    took = time.monotonic() - start
    print(f"EIO after {took:.1f} s without ramvold", flush=True)
    assert SHORT_TIMEOUT - 1 <= took <= csi_node.PATIENCE, took
    fails_with_eio(device.read)
    node.start_server()
    # As if nothing had been, once it is back.
    csi_node.wait_until("its return", lambda: has_returned(device))
    assert device.read() == b"before", device.read()
    device.write(b"after")
    assert device.read() == b"after"
    device.close()


def stop_their_file_systems(node, client):
    """The kernel stops them, however alive their devices are again. All pods of one have
    to go, one that waits to start as well; then it is whole."""
    pods = {}
    for fs_type in STOPPED:
        client.CreateVolume(
            name=f"stops-{fs_type}",
            capacity_range={"required_bytes": 400 * MIB},
            volume_capabilities=[client.capability(fs_type=fs_type)],
        )
        pod = csi_client.Pod(node, client, f"stops-{fs_type}", fs_type=fs_type).start()
        with open(f"{pod.target}/file", "wb", buffering=0) as file:
            file.write(b"before")
            os.fsync(file.fileno())
        pods[fs_type] = pod
    devices = [
        Device(csi_node.device_at(pod.target), os.O_RDONLY) for pod in pods.values()
    ]
    node.server.stop()
    with concurrent.futures.ThreadPoolExecutor() as threads:
        list(threads.map(await_stop, pods.values(), pods))
    node.start_server()
    for device in devices:
        csi_node.wait_until("the device's return", lambda it=device: has_returned(it))
        device.close()
    for fs_type, pod in pods.items():
        assert has_stopped(pod, fs_type)
        starts_anew_without_pods(client, pod)


def await_stop(pod, fs_type):
    csi_node.wait_until(f"the stop of {fs_type}", lambda: has_stopped(pod, fs_type))


def starts_anew_without_pods(client, pod):
    says_that_it_is_dead(client, pod, "file system has stopped")
    other = copy.copy(pod)
    other.target += "-of-another-pod"
    try:
        other.publish()
        raise AssertionError("another pod got it")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        assert "delete all pods" in error.details(), error
    try:
        pod.end()
    except grpc.RpcError as error:
        # An nbd device tells once what it could not write at that time.
        assert "cannot write out" in error.details(), error
        pod.end()
    pod.start()
    with open(f"{pod.target}/file", "rb") as file:
        assert file.read() == b"before"
    make_folder(pod)
    stats = client.NodeGetVolumeStats(volume_id=pod.id, volume_path=pod.target)
    assert not stats.volume_condition.abnormal, stats
    pod.end()
    client.DeleteVolume(volume_id=pod.id)


def has_returned(device):
    with contextlib.suppress(OSError):
        device.read()
        return True
    return False


def fail_when_the_volume_is_gone(node, client, pod):
    """ramvold returns without its state; the volume of that name is another one."""
    device = Device(pod.target)
    node.server.kill()
    shutil.rmtree(node.state)
    os.mkdir(node.state)
    node.start_server()
    took = fails_with_eio(device.read)
    print(f"EIO after {took:.2f} s without the volume", flush=True)
    assert took <= csi_node.PATIENCE, took
    says_that_it_is_dead(client, pod)
    node.ramvol("create", pod.id, "1G")
    fails_with_eio(lambda: device.write(b"not into another volume"))
    assert not node.ramvol("read", pod.id, "0", "4096").strip(b"\0")
    says_that_it_is_dead(client, pod)
    device.close()
    # Its pod goes; the next one has the volume that there is.
    pod.end()
    pod.start()
    device = Device(pod.target)
    device.write(b"anew")
    assert device.read() == b"anew"
    device.close()
    pod.end()
    node.await_free(pod.id)
    node.ramvol("rm", pod.id)


def cleans_up_once_ramvold_is_back(node, client):
    """A driver that starts without ramvold cannot tell what is left of which pod."""
    pod = csi_client.Pod(node, client, "csi-" + "01234567" * 8)
    context = {"csi.storage.k8s.io/ephemeral": "true", "size": "300Mi"}
    pod.publish(volume_context=context)
    assert node.driver.stop() == 0
    subprocess.run(["umount", pod.target], check=True)
    node.server.kill()
    node.start_driver()
    client.await_driver()
    node.await_log("cleaned up: nothing, until")
    node.start_server()
    node.await_log("cleaned up: deleted inline volume csi-")
    csi_node.wait_until("nothing is left", lambda: not node.left())
    assert not node.volumes(), node.volumes()
    pod.unpublish()


def ends_in_the_middle_of_a_trim(node, client):
    """Which would go on for a minute, and the kubelet has less patience."""
    client.CreateVolume(
        name="trimmed",
        capacity_range={"required_bytes": 64 * MIB},
        volume_capabilities=[client.capability()],
    )
    pod = csi_client.Pod(node, client, "trimmed").start()
    assert node.driver.stop() == 0
    os.mkdir(f"{node.folder}/bin")
    fstrim, begun = f"{node.folder}/bin/fstrim", f"{node.folder}/begun"
    with open(fstrim, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\ntouch {begun}\nexec sleep 600\n")
    os.chmod(fstrim, stat.S_IRWXU)
    node.start_driver("--trim_interval=100ms", "--drain_timeout=100ms")
    csi_node.wait_until("a trim", lambda: os.path.exists(begun))
    assert node.driver.stop() == 0
    assert "still under way" not in node.driver.text()
    os.remove(fstrim)
    node.start_driver()
    client.await_driver()
    pod.end()
    client.DeleteVolume(volume_id=pod.id)


def main():
    csi_node.own_mounts()
    print(f"CSI_SEED={SEED}", flush=True)
    messages = csi_client.load(os.path.realpath(sys.argv[1]))
    with csi_node.Node(*sys.argv[2:5], state_dir=True) as node:
        node.start_server()
        node.start_driver()
        client = csi_client.Client(node.endpoint, messages)
        go_on_across_restarts(node, client)
        cleans_up_once_ramvold_is_back(node, client)
        ends_in_the_middle_of_a_trim(node, client)
        csi_node.wait_until("nothing is left", lambda: not node.left())
        assert node.driver.stop() == 0
        node.start_driver(f"--reconnect_timeout={SHORT_TIMEOUT}s")
        client.await_driver()
        client.CreateVolume(
            name="ends",
            capacity_range={"required_bytes": 64 * MIB},
            volume_capabilities=[client.capability(block=True)],
        )
        pod = csi_client.Pod(node, client, "ends", block=True).start()
        fail_when_it_stays_away(node, client, pod)
        stop_their_file_systems(node, client)
        fail_when_the_volume_is_gone(node, client, pod)
        csi_node.wait_until("nothing is left", lambda: not node.left())
        client.close()
    print("PASSED")


if __name__ == "__main__":
    main()
