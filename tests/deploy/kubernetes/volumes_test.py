"""The volumes of the values, as ramvold reads them.

Arguments: as value_sets.py has them.
"""

import functools
import re
import sys
import tempfile
import unittest

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import MessageFactory

from chart import find
from value_sets import HELM, protoc


@functools.lru_cache
def volumes_file_class():
    with tempfile.NamedTemporaryFile() as file:
        protoc("--include_imports", f"-o{file.name}")
        files = descriptor_pb2.FileDescriptorSet.FromString(file.read())
    pool = descriptor_pool.DescriptorPool()
    for proto in files.file:
        pool.Add(proto)
    message = pool.FindMessageTypeByName("ramvol.v1.VolumesFile")
    return MessageFactory(pool).GetPrototype(message)


def read_volumes(documents):
    """What ramvold reads: protoc has the same parser of text, Python another."""
    text = find(documents, "ConfigMap")["data"]["volumes.textproto"]
    binary = protoc("--encode=ramvol.v1.VolumesFile", input=text.encode())
    return volumes_file_class().FromString(binary).volumes


class VolumesTest(unittest.TestCase):
    def test_none_by_default(self):
        self.assertEqual(len(read_volumes(HELM.render())), 0)

    def test_every_field_arrives(self):
        labels = {
            "plain": "value",
            "odd": 'a"b\\c\né\u2028\x01 # {{ }}',
            "empty": "",
        }
        volume = {
            "name": "a.b_c-d",
            "size": "10Gi",
            "allocator": "sparse",
            "memoryLimit": "2G",
            "readOnly": True,
            "zstdLevel": -5,
            "mergeZstdLevel": 19,
            "minFrameSize": "4Ki",
            "maxFrameSize": 65536,
            "labels": labels,
        }
        (found,) = read_volumes(HELM.render({"volumes": [volume]}))
        self.assertEqual(dict(found.labels), labels)
        found.labels.clear()
        wanted = {
            "name": "a.b_c-d",
            "size_bytes": 10 << 30,
            "allocator": 2,
            "min_frame_bytes": 4096,
            "max_frame_bytes": 65536,
            "zstd_level": -5,
            "merge_zstd_level": 19,
            "memory_limit_bytes": 2 * 10**9,
            "read_only": True,
        }
        self.assertEqual({f.name: v for f, v in found.ListFields()}, wanted)

    def test_order_and_allocators(self):
        names = {"z": "zstd", "a": "sparse", "m": "malloc"}
        volumes = [{"name": n, "size": 1, "allocator": a} for n, a in names.items()]
        found = read_volumes(HELM.render({"volumes": volumes}))
        self.assertEqual(
            [(v.name, v.allocator) for v in found],
            [("z", 1), ("a", 2), ("m", 3)],
        )

    def test_quantities_are_exact(self):
        quantities = {
            1: 1,
            "1": 1,
            4096: 4096,
            1000000: 1000000,
            2**53 - 1: 2**53 - 1,
            str(2**53 + 1): 2**53 + 1,
            str(2**63 - 1): 2**63 - 1,
            "9223372036854775k": 9223372036854775000,
            "9007199254740991Ki": 9007199254740991 << 10,
            "0010": 10,
            "1k": 1000,
            "3M": 3 * 10**6,
            "5G": 5 * 10**9,
            "7T": 7 * 10**12,
            "2P": 2 * 10**15,
            "9E": 9 * 10**18,
            "1Ki": 1 << 10,
            "3Mi": 3 << 20,
            "10Gi": 10 << 30,
            "5Ti": 5 << 40,
            "9Pi": 9 << 50,
            "7Ei": 7 << 60,
        }
        volumes = [{"name": f"v{i}", "size": q} for i, q in enumerate(quantities)]
        found = read_volumes(HELM.render({"volumes": volumes}))
        self.assertEqual([v.size_bytes for v in found], list(quantities.values()))

    def test_decimal_units_are_shown_as_such(self):
        volumes = [
            {"name": "a", "size": "10G", "memoryLimit": "3k"},
            {"name": "b", "size": "10Gi"},
            {"name": "c", "size": 10},
        ]
        documents = HELM.render({"volumes": volumes})
        text = find(documents, "ConfigMap")["data"]["volumes.textproto"]
        lines = re.findall(r"(?m)^  \w+_bytes: .*$", text)
        words = " of Kubernetes: a power of 1000"
        self.assertEqual(
            lines,
            [
                f"  size_bytes: 10000000000  # 10G{words}",
                f"  memory_limit_bytes: 3000  # 3k{words}",
                "  size_bytes: 10737418240",
                "  size_bytes: 10",
            ],
        )

    def test_numbers_of_the_command_line_are_exact(self):
        args = ["--set=volumes[0].name=a", f"--set=volumes[0].size={2**53 + 1}"]
        (found,) = read_volumes(HELM.render(args=args))
        self.assertEqual(found.size_bytes, 2**53 + 1)

    def test_a_memory_limit_may_be_none(self):
        volume = {"name": "a", "size": 1, "memoryLimit": 0}
        (found,) = read_volumes(HELM.render({"volumes": [volume]}))
        self.assertEqual(found.memory_limit_bytes, 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
