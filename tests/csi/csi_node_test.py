#!/usr/bin/python3
"""ramvol-csi as a kubelet uses it, over real mounts: file systems and block devices,
clones and snapshots beside their sources, growth, inline volumes, what a node has room
for; 200 volumes made and deleted. For the figures, see its output. By FUSE, or by nbd with
CSI_ATTACH=nbd.
Arguments: the paths of csi.proto, ramvold, ramvol, ramvol-csi and docs/csi.md."""

import contextlib
import errno
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
import unittest
import urllib.request

import csi_client
import csi_node
import grpc
from csi_node import GIB, MIB

CSI = None  # The module of csi.proto.
PAGE = os.path.realpath(sys.argv[5])
VOLUMES = int(os.environ.get("CSI_VOLUMES", "200"))
IMAGE = int(os.environ.get("CSI_IMAGE_MIB", "256")) * MIB


def write_file(path, seed, size=3 * MIB):
    """Bytes of which half compress; returns their digest."""
    content = (hashlib.sha256(seed.encode()).digest() + bytes(32)) * (size // 64)
    with open(path, "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def fill(folder, size):
    """Files from 1 KiB to 4 MiB, of words that compress to about a half."""
    rng = random.Random(size)
    words = [rng.randbytes(rng.randint(3, 12)) for _ in range(700)]
    text = b"".join(rng.choices(words, k=16 * MIB // 7))
    files = 0
    while size > 0:
        length = min(size, int(1024 * 4096 ** rng.random()))
        begin = rng.randrange(len(text) - length)
        os.makedirs(f"{folder}/{files // 200}", exist_ok=True)
        with open(f"{folder}/{files // 200}/{files}", "wb") as file:
            file.write(text[begin : begin + length])
        size -= length
        files += 1
    return files


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def keeps_freed(pid):
    """ASan does, so memory says nothing."""
    with open(f"/proc/{pid}/exe", "rb") as program:
        return b"__asan_init" in program.read()


class CsiNodeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.addClassCleanup(lambda: cls.world.close())
        cls.start()

    @classmethod
    def start(cls):
        cls.world = contextlib.ExitStack()
        cls.node = csi_node.Node(*sys.argv[2:5], memory="2G")
        cls.world.enter_context(cls.node)
        cls.node.start_server()
        cls.node.start_driver("--overcommit=50", "--metrics_listen=127.0.0.1:0")
        cls.client = csi_client.Client(cls.node.endpoint, CSI)
        cls.world.callback(cls.client.close)

    def tearDown(self):
        self.renew()

    def renew(self):
        """What a failed test left fails no other one: its whole node goes."""
        running = all(
            program.is_running() for program in (self.node.server, self.node.driver)
        )
        if running and not self.node.left() and not self.node.volumes():
            return
        print(self.node.driver.text()[-3000:], file=sys.stderr)
        self.world.close()
        self.start()

    @contextlib.contextmanager
    def each(self, name):
        """A subTest of the same kind."""
        with self.subTest(name):
            try:
                yield
            finally:
                self.renew()

    def create(self, name, size=GIB, **fields):
        if "parameters" not in fields:
            fields["parameters"] = {}
        answer = self.client.CreateVolume(
            name=name,
            capacity_range={"required_bytes": size},
            volume_capabilities=[self.client.capability()],
            **fields,
        )
        return answer.volume

    def clone_of(self, snapshot=None, volume=None):
        if snapshot:
            return {"snapshot": {"snapshot_id": snapshot}}
        return {"volume": {"volume_id": volume}}

    def memory(self, name):
        stats = json.loads(self.node.ramvol("stat", "--output=json", name))
        return int(stats["memoryBytes"])

    def assert_clean(self, volumes=()):
        csi_node.wait_until("nothing is left", lambda: not self.node.left())
        self.assertEqual(self.node.volumes(), list(volumes))

    def refused(self, code, call, *args, **fields):
        with self.assertRaises(grpc.RpcError) as caught:
            call(*args, **fields)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        return caught.exception.details()

    def test_file_systems_with_a_snapshot_and_its_clone_mounted_beside(self):
        for fs_type in ("ext4", "xfs", "btrfs"):
            with self.each(fs_type):
                source = self.create(f"source-{fs_type}")
                pod = csi_client.Pod(
                    self.node, self.client, source.volume_id, fs_type=fs_type
                ).start()
                want = write_file(f"{pod.target}/file", fs_type)
                snapshot = self.client.CreateSnapshot(
                    name=f"Snap {fs_type}", source_volume_id=source.volume_id
                ).snapshot
                self.assertTrue(snapshot.ready_to_use)
                write_file(f"{pod.target}/file", "changed")
                # Larger than its source, so the file system grows.
                clone = self.create(
                    f"clone-{fs_type}",
                    3 * GIB,
                    volume_content_source=self.clone_of(snapshot.snapshot_id),
                )
                other = csi_client.Pod(
                    self.node, self.client, clone.volume_id, fs_type=fs_type
                ).start()
                self.assertEqual(digest(f"{other.target}/file"), want)
                write_file(f"{other.target}/file", "clone")
                total = os.statvfs(other.target)
                self.assertGreater(total.f_blocks * total.f_frsize, 2.7 * GIB)
                other.end()
                # What it wrote is there after a second time.
                other.start()
                self.assertNotEqual(digest(f"{other.target}/file"), want)
                for each in (other, pod):
                    each.end()
                    self.client.DeleteVolume(volume_id=each.id)
                self.client.DeleteSnapshot(snapshot_id=snapshot.snapshot_id)
                self.assert_clean()

    def test_copies_of_a_crash_mounted_beside(self):
        """With what only the source's journal has: a copy of a file system that is in
        use, a copy of that one, only to be read, and what a save brings back, which
        nobody knows for a copy."""
        for fs_type in ("ext4", "xfs", "btrfs"):
            with self.each(fs_type):
                source = self.create(f"used-{fs_type}")
                pod = csi_client.Pod(
                    self.node, self.client, source.volume_id, fs_type=fs_type
                ).start()
                subprocess.run(["sync", "-f", pod.target], check=True)
                want = write_file(f"{pod.target}/file", fs_type)
                # The driver would have it write its caches back.
                crash = f"crash-{fs_type}"
                self.node.ramvol("snapshot", "create", source.volume_id, crash)
                for name, parameters in {
                    f"copy-{fs_type}": {"image": f"@{crash}"},
                    f"reader-{fs_type}": {"image": f"copy-{fs_type}"},
                }.items():
                    self.create(name, parameters=parameters)
                image = f"{self.node.folder}/saved.qcow2"
                self.node.ramvol("save", f"copy-{fs_type}", image)
                self.client.DeleteVolume(volume_id=f"copy-{fs_type}")
                self.node.ramvol("restore", image, f"copy-{fs_type}")
                copy, reader = (
                    csi_client.Pod(
                        self.node, self.client, f"{name}-{fs_type}", **fields
                    )
                    for name, fields in {
                        "copy": {},
                        "reader": {"mode": "SINGLE_NODE_READER_ONLY"},
                    }.items()
                )
                for other in (copy, reader):
                    other.start()
                    self.assertEqual(digest(f"{other.target}/file"), want)
                with self.assertRaises(OSError) as caught:
                    write_file(f"{reader.target}/file", "x")
                self.assertEqual(caught.exception.errno, errno.EROFS)
                write_file(f"{copy.target}/file", "copy")
                self.assertEqual(digest(f"{pod.target}/file"), want)
                self.node.ramvol("snapshot", "rm", crash)
                for each in (pod, copy, reader):
                    each.end()
                    self.client.DeleteVolume(volume_id=each.id)
                self.assert_clean()

    def test_a_group_snapshot_is_of_one_instant(self):
        """A number goes to the first volume, then to the second one, again and again:
        the clones of a group never have it in the second one alone."""
        pods = [
            csi_client.Pod(self.node, self.client, self.create(name).volume_id).start()
            for name in ("group-first", "group-second")
        ]
        begun, over = threading.Event(), threading.Event()

        def write():
            files = [
                os.open(f"{pod.target}/number", os.O_CREAT | os.O_WRONLY)
                for pod in pods
            ]
            number = 0
            while not over.is_set():
                number += 1
                for file in files:
                    os.pwrite(file, b"%08d" % number, 0)
                    os.fsync(file)
                begun.set()
            for file in files:
                os.close(file)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            self.assertTrue(begun.wait(csi_node.PATIENCE))
            groups = [
                self.client.CreateVolumeGroupSnapshot(
                    name=f"Group {i}", source_volume_ids=[pod.id for pod in pods]
                ).group_snapshot
                for i in range(3)
            ]
        finally:
            over.set()
            writer.join()
        for i, group in enumerate(groups):
            seen = []
            for j, snapshot in enumerate(group.snapshots):
                clone = self.create(
                    f"of-group-{i}-{j}",
                    volume_content_source=self.clone_of(snapshot.snapshot_id),
                )
                pod = csi_client.Pod(self.node, self.client, clone.volume_id).start()
                with open(f"{pod.target}/number", "rb") as file:
                    seen.append(int(file.read()))
                pod.end()
                self.client.DeleteVolume(volume_id=pod.id)
            self.assertIn(seen[0] - seen[1], (0, 1), seen)
            self.client.DeleteVolumeGroupSnapshot(
                group_snapshot_id=group.group_snapshot_id,
                snapshot_ids=[each.snapshot_id for each in group.snapshots],
            )
        for pod in pods:
            pod.end()
            self.client.DeleteVolume(volume_id=pod.id)
        self.assert_clean()

    def test_pods_get_what_their_class_says(self):
        volume = self.create(
            "of-a-class",
            parameters={
                "allocator": "sparse",
                "memoryLimit": "50%",
                "fsType": "xfs",
                "csi.storage.k8s.io/pvc/name": "ignored",
            },
        )
        self.assertEqual(volume.volume_context["fsType"], "xfs")
        self.assertEqual(volume.volume_context["attach"], csi_node.ATTACH)
        shown = self.node.ramvol("show", "of-a-class").decode()
        self.assertIn("sparse", shown)
        self.assertIn("512.00 MiB", shown)
        self.client.DeleteVolume(volume_id=volume.volume_id)
        self.assert_clean()

    def test_block_devices(self):
        volume = self.create("block")
        pod = csi_client.Pod(self.node, self.client, volume.volume_id, block=True)
        pod.start()
        with open(pod.target, "r+b", buffering=0) as device:
            device.write(b"x" * 4096)
            os.fsync(device.fileno())
        self.assertEqual(self.node.ramvol("read", "block", "0", "1"), b"x")
        stats = self.client.NodeGetVolumeStats(
            volume_id=volume.volume_id, volume_path=pod.target
        )
        self.assertEqual([usage.total for usage in stats.usage], [GIB])
        pod.end()
        self.client.DeleteVolume(volume_id=volume.volume_id)
        self.assert_clean()

    def test_growth_while_mounted(self):
        for fs_type in ("ext4", "xfs", "btrfs"):
            if fs_type == "ext4" and not csi_node.has_sys_resource():
                print("ext4 does not grow without CAP_SYS_RESOURCE", flush=True)
                continue
            with self.each(fs_type):
                volume = self.create(f"growing-{fs_type}", 400 * MIB)
                pod = csi_client.Pod(
                    self.node, self.client, volume.volume_id, fs_type=fs_type
                ).start()
                want = write_file(f"{pod.target}/before", "before")
                self.client.ControllerExpandVolume(
                    volume_id=volume.volume_id,
                    capacity_range={"required_bytes": 800 * MIB},
                )
                for _ in range(2):
                    self.client.NodeExpandVolume(
                        volume_id=volume.volume_id, volume_path=pod.target
                    )
                size = os.statvfs(pod.target)
                self.assertGreater(size.f_blocks * size.f_frsize, 700 * MIB)
                self.assertEqual(digest(f"{pod.target}/before"), want)
                # More than it had room for.
                for i in range(5):
                    with open(f"{pod.target}/{i}", "wb") as file:
                        os.posix_fallocate(file.fileno(), 0, 100 * MIB)
                        file.seek(-4, os.SEEK_END)
                        file.write(b"end%d" % i)
                        os.fsync(file.fileno())
                pod.end()
                pod.start()
                self.assertEqual(digest(f"{pod.target}/before"), want)
                for i in range(5):
                    with open(f"{pod.target}/{i}", "rb") as file:
                        file.seek(-4, os.SEEK_END)
                        self.assertEqual(file.read(), b"end%d" % i)
                pod.end()
                self.client.DeleteVolume(volume_id=volume.volume_id)
                self.assert_clean()

    def test_growth_of_a_block_device_that_is_open(self):
        volume = self.create("growing-block")
        pod = csi_client.Pod(self.node, self.client, volume.volume_id, block=True)
        pod.start()
        with open(pod.target, "r+b", buffering=0) as device:
            self.client.ControllerExpandVolume(
                volume_id=volume.volume_id, capacity_range={"required_bytes": 2 * GIB}
            )
            self.client.NodeExpandVolume(
                volume_id=volume.volume_id, volume_path=pod.target
            )
            self.assertEqual(device.seek(0, os.SEEK_END), 2 * GIB)
            device.seek(2 * GIB - 4096)
            device.write(b"x" * 4096)
            os.fsync(device.fileno())
        end = str(2 * GIB - 1)
        self.assertEqual(self.node.ramvol("read", "growing-block", end, "1"), b"x")
        pod.end()
        self.client.DeleteVolume(volume_id=volume.volume_id)
        self.assert_clean()

    def test_what_is_discarded_takes_no_memory(self):
        volume = self.create("discard")
        pod = csi_client.Pod(self.node, self.client, volume.volume_id, block=True)
        pod.start()
        with open(pod.target, "r+b", buffering=0) as device:
            device.write(os.urandom(8 * MIB))
            os.fsync(device.fileno())
        self.assertGreater(self.memory("discard"), 8 * MIB)
        subprocess.run(
            ["blkdiscard", pod.target], check=True, env=self.node.environment
        )
        self.assertLess(self.memory("discard"), MIB)
        with open(pod.target, "rb") as device:
            self.assertFalse(device.read(8 * MIB).strip(b"\0"))
        pod.end()
        self.client.DeleteVolume(volume_id=volume.volume_id)
        self.assert_clean()

    def test_files_that_are_removed_take_no_memory(self):
        for fs_type in ("ext4", "xfs", "btrfs"):
            with self.each(fs_type):
                volume = self.create(f"removed-{fs_type}")
                pod = csi_client.Pod(
                    self.node, self.client, volume.volume_id, fs_type=fs_type
                ).start()
                path = f"{pod.target}/file"
                with open(path, "wb") as file:
                    file.write(os.urandom(16 * MIB))
                    os.fsync(file.fileno())
                self.assertGreater(self.memory(volume.volume_id), 16 * MIB)
                os.remove(path)
                for command in ["sync", "-f"], ["fstrim"]:
                    subprocess.run(
                        [*command, pod.target], check=True, env=self.node.environment
                    )
                csi_node.wait_until(
                    f"memory of {fs_type}",
                    lambda it=volume.volume_id: self.memory(it) < 4 * MIB,
                )
                pod.end()
                self.client.DeleteVolume(volume_id=volume.volume_id)
                self.assert_clean()

    def test_the_node_alone_lets_a_volume_grow(self):
        volume = self.create("growing-node")
        pod = csi_client.Pod(
            self.node, self.client, volume.volume_id, fs_type="xfs"
        ).start()
        expand = {"volume_id": volume.volume_id, "volume_path": pod.target}
        expand["capacity_range"] = {"required_bytes": 1 << 50}
        self.refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED, self.client.NodeExpandVolume, **expand
        )
        # What a kubelet repeats does nothing, and nothing shrinks.
        for required in 2 * GIB, 2 * GIB, GIB, 0:
            expand["capacity_range"] = {"required_bytes": required}
            answer = self.client.NodeExpandVolume(**expand)
            self.assertEqual(answer.capacity_bytes, 2 * GIB)
        size = os.statvfs(pod.target)
        self.assertGreater(size.f_blocks * size.f_frsize, 1.8 * GIB)
        pod.end()
        self.client.DeleteVolume(volume_id=volume.volume_id)
        self.assert_clean()

    def test_a_pod_that_only_reads(self):
        volume = self.create("read-only")
        pod = csi_client.Pod(self.node, self.client, volume.volume_id)
        pod.stage()
        pod.publish(readonly=True)
        pod.publish(readonly=True)
        with self.assertRaisesRegex(OSError, "Read-only"):
            write_file(f"{pod.target}/file", "x")
        self.refused(grpc.StatusCode.ALREADY_EXISTS, pod.publish)
        pod.end()
        self.client.DeleteVolume(volume_id=volume.volume_id)
        self.assert_clean()

    def test_an_inline_volume_ends_with_its_pod(self):
        handle = "csi-" + "0123456789abcdef" * 4
        self.assertEqual(len(handle), 68)
        pod = csi_client.Pod(self.node, self.client, handle)
        context = {"csi.storage.k8s.io/ephemeral": "true", "size": "300Mi"}
        for _ in range(2):
            pod.publish(volume_context=context)
        write_file(f"{pod.target}/file", "x")
        self.assertEqual(len(self.node.volumes()), 1)
        for _ in range(2):
            pod.unpublish()
        self.assertFalse(os.path.exists(pod.target))
        self.assert_clean()

    def test_an_inline_volume_may_be_read_only(self):
        pod = csi_client.Pod(self.node, self.client, "csi-" + "01234567" * 8)
        context = {"csi.storage.k8s.io/ephemeral": "true", "size": "300Mi"}
        for _ in range(2):
            pod.publish(volume_context=context, readonly=True)
        with self.assertRaises(OSError) as caught:
            write_file(f"{pod.target}/file", "x")
        self.assertEqual(caught.exception.errno, errno.EROFS)
        pod.unpublish()
        self.assert_clean()

    def test_what_the_driver_did_not_make_is_used_but_not_deleted(self):
        self.node.ramvol("create", "golden", "300M")
        subprocess.run(
            ["mkfs.ext4", "-q", f"{self.node.folder}/golden.img", "300M"],
            check=True,
            env=self.node.environment,
        )
        self.node.ramvol(
            "import", f"{self.node.folder}/golden.img", "golden", "--force"
        )
        clone = self.create("of-image", parameters={"image": "golden"})
        pod = csi_client.Pod(self.node, self.client, clone.volume_id).start()
        self.assertIn("lost+found", os.listdir(pod.target))
        pod.end()
        self.client.DeleteVolume(volume_id=clone.volume_id)
        own = csi_client.Pod(self.node, self.client, "golden").start()
        own.end()
        self.refused(
            grpc.StatusCode.FAILED_PRECONDITION,
            self.client.DeleteVolume,
            volume_id="golden",
        )
        listed = [entry.volume.volume_id for entry in self.client.ListVolumes().entries]
        self.assertEqual(listed, [])
        # Something that is no file system is never formatted.
        self.node.await_free("golden")
        self.node.ramvol("write", "golden", "1024", input=b"\xff" * 4096)
        why = self.refused(grpc.StatusCode.FAILED_PRECONDITION, own.stage)
        self.assertIn("holds unknown", why)
        own.end()
        self.node.await_free("golden")
        self.node.ramvol("rm", "golden")
        self.assert_clean()

    def test_what_is_restored_under_another_name_is_a_volume_of_its_own(self):
        image = f"{self.node.folder}/claim.qcow2"
        self.create("claim")
        pod = csi_client.Pod(self.node, self.client, "claim").start()
        wanted = write_file(f"{pod.target}/file", "saved")
        pod.end()
        self.node.ramvol("set", "claim", "--label=csi-image=claim")
        self.node.ramvol("save", "claim", image)
        self.node.ramvol("restore", image, "back")
        # The copy has the label that offers the original alone.
        context = {"csi.storage.k8s.io/ephemeral": "true", "image": "claim"}
        inline = csi_client.Pod(self.node, self.client, "csi-" + "89abcdef" * 8)
        inline.publish(volume_context=context)
        self.assertEqual(digest(f"{inline.target}/file"), wanted)
        self.node.ramvol("set", "claim", "--unlabel=csi-image")
        inline.publish(volume_context=context)
        inline.unpublish()
        context["image"] = "back"
        why = self.refused(
            grpc.StatusCode.FAILED_PRECONDITION,
            inline.publish,
            volume_context=context,
        )
        self.assertIn("csi-image=back", why)
        self.client.DeleteVolume(volume_id="claim")
        pod = csi_client.Pod(self.node, self.client, "back").start()
        self.assertEqual(digest(f"{pod.target}/file"), wanted)
        pod.end()
        self.refused(
            grpc.StatusCode.FAILED_PRECONDITION,
            self.client.DeleteVolume,
            volume_id="back",
        )
        self.node.await_free("back")
        self.node.ramvol("rm", "back")
        self.assert_clean()

    @unittest.skipIf(csi_node.ATTACH != "nbd", "ramvol attaches by nbd")
    def test_what_people_have_attached_stays_theirs(self):
        volume = self.create("backup", 300 * MIB)
        device = self.node.ramvol("attach", "backup").decode().strip()
        pod = csi_client.Pod(self.node, self.client, volume.volume_id)
        with open(device, "rb") as reader:
            text = self.refused(grpc.StatusCode.FAILED_PRECONDITION, pod.stage)
            self.assertIn(f'run "ramvol detach {device}"', text)
            pod.end()
            self.assertEqual(csi_node.nbd_devices(), [device])
            self.assertEqual(reader.read(4096), bytes(4096))
        self.node.ramvol("detach", device)
        pod.start()
        write_file(f"{pod.target}/file", "x")
        pod.end()
        self.client.DeleteVolume(volume_id=pod.id)
        self.assert_clean()

    @unittest.skipIf(csi_node.ATTACH == "nbd", "loop devices come while they are used")
    def test_devices_that_came_after_dev(self):
        """As where the node is itself a container, such as kind's: /dev has what was
        there when it was started."""
        kept = {
            name: os.stat(f"/dev/{name}") for name in ("fuse", "loop-control", "null")
        }
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev"], check=True)
        try:
            for name, info in kept.items():
                os.mknod(f"/dev/{name}", info.st_mode, info.st_rdev)
            for name, fields in (("files", {}), ("block", {"block": True})):
                self.create(name)
                pod = csi_client.Pod(self.node, self.client, name, **fields).start()
                (device,) = csi_node.loops_below(self.node.folder)
                self.assertTrue(os.path.exists(device))
                # As in a /dev that the container is given anew.
                os.remove(device)
                pod.stage()
                self.assertTrue(os.path.exists(device))
                pod.end()
                self.client.DeleteVolume(volume_id=pod.id)
        finally:
            subprocess.run(["umount", "--lazy", "/dev"], check=True)
        self.assert_clean()

    def test_metrics(self):
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.client.DeleteVolume)
        text = self.metrics()
        with open(PAGE, encoding="utf-8") as page:
            documented = re.findall(
                r"^\| `(ramvol_csi_\w+)` \| (\w+) \|", page.read(), re.M
            )
        exported = re.findall(r"^# TYPE (ramvol_csi_\w+) (\w+)", text, re.MULTILINE)
        self.assertEqual(sorted(exported), sorted(documented))
        self.assertRegex(
            text,
            r'ramvol_csi_calls_total\{(method="DeleteVolume",?|code="INVALID_ARGUMENT",?)',
        )
        self.assertIn("ramvol_csi_devices", text)

    def test_capacity_and_places_are_honest(self):
        free = self.client.GetCapacity().available_capacity
        self.assertLessEqual(free, 50 * 2 * GIB)
        self.assertGreater(free, 50 * GIB)
        elsewhere = {"segments": {"topology.csi.ramvol.dev/node": "node-2"}}
        answer = self.client.GetCapacity(accessible_topology=elsewhere)
        self.assertEqual(answer.available_capacity, 0)
        self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, self.create, "big", free * 2)
        self.refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            self.create,
            "there",
            accessibility_requirements={"requisite": [elsewhere]},
        )
        self.refused(
            grpc.StatusCode.NOT_FOUND, self.create, "y", parameters={"image": "none"}
        )
        self.refused(
            grpc.StatusCode.INVALID_ARGUMENT, self.create, "y", parameters={"x": "y"}
        )
        self.assert_clean()

    def test_memory_pressure_is_a_condition_before_writes_fail(self):
        volume = self.create("full", parameters={"memoryLimit": "64Mi"})
        pod = csi_client.Pod(self.node, self.client, volume.volume_id).start()
        where = {"volume_id": volume.volume_id, "volume_path": pod.target}
        before = self.client.NodeGetVolumeStats(**where)
        self.assertFalse(before.volume_condition.abnormal)
        with (
            open("/dev/urandom", "rb") as source,
            open(f"{pod.target}/file", "wb") as file,
        ):
            condition = before.volume_condition
            for _ in range(60):
                file.write(source.read(MIB))
                os.fsync(file.fileno())
                if self.client.NodeGetVolumeStats(**where).volume_condition.abnormal:
                    # Not for certain: meanwhile, some may have been compressed.
                    listed = self.client.ListVolumes().entries[0]
                    condition = listed.status.volume_condition
                if condition.abnormal:
                    break
        self.assertTrue(condition.abnormal)
        self.assertIn("of its memory limit", condition.message)
        pod.end()
        self.client.DeleteVolume(volume_id=volume.volume_id)
        self.assert_clean()

    def metrics(self):
        url = re.search(r"metrics (http\S+)", self.node.driver.ready)[1]
        with urllib.request.urlopen(url, timeout=csi_node.PATIENCE) as answer:
            return answer.read().decode()

    def attach_seconds(self):
        """What all took together."""
        name = "ramvol_csi_attach_duration_seconds_sum"
        return sum(
            float(value)
            for value in re.findall(rf"^{name}.* (\S+)$", self.metrics(), re.M)
        )

    def timed_start(self, volume):
        pod = csi_client.Pod(self.node, self.client, volume.volume_id)
        before = self.attach_seconds()
        begin = time.monotonic()
        pod.stage()
        staged = time.monotonic()
        pod.publish()
        end = time.monotonic()
        attach = self.attach_seconds() - before
        print(
            f"{volume.volume_id}: NodeStageVolume {(staged - begin) * 1000:.0f} ms, of "
            f"which attach {attach * 1000:.0f} ms; NodePublishVolume "
            f"{(end - staged) * 1000:.0f} ms; both beyond attach "
            f"{(end - begin - attach) * 1000:.0f} ms",
            flush=True,
        )
        return pod

    def test_figures_of_a_fresh_volume_and_a_clone(self):
        volume = self.create("fresh-20-gib", 20 * GIB)
        pod = self.timed_start(volume)
        subprocess.run(["sync", "-f", pod.target], check=True)
        print(f"memory of a fresh one: {self.memory('fresh-20-gib') / MIB:.2f} MiB")
        self.assertLess(self.memory("fresh-20-gib"), 4 * MIB)
        for i in range(8):
            write_file(f"{pod.target}/{i}", str(i), 32 * MIB)
        clone = self.create(
            "clone-20-gib",
            20 * GIB,
            volume_content_source=self.clone_of(volume="fresh-20-gib"),
        )
        other = self.timed_start(clone)
        self.assertEqual(digest(f"{other.target}/7"), digest(f"{pod.target}/7"))
        for each in (pod, other):
            each.end()
            self.client.DeleteVolume(volume_id=each.id)
        self.assert_clean()

    def test_figures_of_clones_of_an_image(self):
        image = self.create("image", IMAGE)
        pod = csi_client.Pod(self.node, self.client, image.volume_id).start()
        files = fill(pod.target, IMAGE * 8 // 10)
        pod.end()
        print(
            f"image: {IMAGE // MIB} MiB with {files} files, in "
            f"{self.memory('image') // MIB} MiB of memory",
            flush=True,
        )
        for i in range(5):
            clone = self.create(
                f"clone-{i}", IMAGE, parameters={"image": image.volume_id}
            )
            other = self.timed_start(clone)
            self.assertEqual(len(os.listdir(f"{other.target}/0")), min(files, 200))
            other.end()
            self.client.DeleteVolume(volume_id=clone.volume_id)
        self.client.DeleteVolume(volume_id=image.volume_id)
        self.assert_clean()

    def test_many_volumes_leave_nothing_and_take_no_memory(self):
        took = []
        for i in range(VOLUMES):
            volume = self.create(f"many-{i}")
            pod = csi_client.Pod(self.node, self.client, volume.volume_id)
            begin = time.monotonic()
            pod.start()
            took.append(time.monotonic() - begin)
            write_file(f"{pod.target}/file", str(i), MIB)
            pod.end()
            self.client.DeleteVolume(volume_id=volume.volume_id)
            if i == VOLUMES // 4:
                before = resident(self.node.driver.process.pid)
        after = resident(self.node.driver.process.pid)
        took.sort()
        print(
            f"{VOLUMES} volumes: staged and published in {took[len(took) // 2] * 1000:.0f}"
            f" ms (median), {took[-1] * 1000:.0f} ms (longest); the driver's memory "
            f"{before / MIB:.1f} MiB after a quarter, {after / MIB:.1f} MiB at the end"
        )
        if not keeps_freed(self.node.driver.process.pid):
            self.assertLess(after, before + 8 * MIB)
        self.assert_clean()


if __name__ == "__main__":
    csi_node.own_mounts()
    CSI = csi_client.load(os.path.realpath(sys.argv[1]))
    unittest.main(argv=["csi_node_test.py", *sys.argv[6:]], verbosity=2)
