"""Golden images on every node.

Arguments: as value_sets.py has them.
"""

import sys
import unittest

import schemas
from chart import Helm, find
from csi_sets import driver_of
from value_sets import HELM

CLAIM = {"persistentVolumeClaim": {"claimName": "images", "readOnly": True}}
IMAGES = [
    {
        "name": "golden",
        "url": "https://images.example/golden.qcow2?v=1",
        "sha256": "c" * 64,
    },
    {"name": "other_1.0", "volume": CLAIM, "path": "a/other.img", "format": "raw"},
]
VALUES = {"csi": {"enabled": True, "images": IMAGES}}


def pod_of(documents, name):
    return find(documents, "DaemonSet", name)["spec"]["template"]["spec"]


def environment(pod):
    (container,) = pod["containers"]
    return {e["name"]: e["value"] for e in container["env"]}


class ImagesTest(unittest.TestCase):
    def test_none_by_default(self):
        documents = HELM.render({"csi": {"enabled": True}})
        names = {d["metadata"]["name"] for d in documents if d["kind"] == "DaemonSet"}
        self.assertEqual(names, {"ramvol-csi", "ramvol-csi-server"})

    def test_objects_are_valid(self):
        for version in schemas.versions():
            valid = schemas.Schemas(version)
            for document in Helm(HELM.chart, version).render(VALUES):
                self.assertEqual(valid.errors(document), [], document)

    def test_by_url(self):
        pod = pod_of(HELM.render(VALUES), "ramvol-image-golden")
        found = environment(pod)
        self.assertEqual(found["NAME"], "golden")
        self.assertEqual(found["URL"], IMAGES[0]["url"])
        self.assertEqual(found["SHA256"], "c" * 64)
        self.assertEqual(found["FORMAT"], "auto")
        self.assertNotIn("FILE", found)
        (volume,) = [v for v in pod["volumes"] if v["name"] == "image"]
        self.assertEqual(volume["emptyDir"], {"sizeLimit": "20Gi"})
        image = {"name": "big", "url": "http://a", "sizeLimit": "1Ti"}
        documents = HELM.render({"csi": {"enabled": True, "images": [image]}})
        pod = pod_of(documents, "ramvol-image-big")
        (volume,) = [v for v in pod["volumes"] if v["name"] == "image"]
        self.assertEqual(volume["emptyDir"], {"sizeLimit": "1Ti"})

    def test_of_a_volume(self):
        pod = pod_of(HELM.render(VALUES), "ramvol-image-other-1-0")
        found = environment(pod)
        self.assertEqual(found["NAME"], "other_1.0")
        self.assertEqual(found["FILE"], "/image/a/other.img")
        self.assertEqual(found["FORMAT"], "raw")
        self.assertNotIn("URL", found)
        (volume,) = [v for v in pod["volumes"] if v["name"] == "image"]
        self.assertEqual(volume, {"name": "image", **CLAIM})
        mounts = {m["name"]: m for m in pod["containers"][0]["volumeMounts"]}
        self.assertIs(mounts["image"]["readOnly"], True)

    def test_pods_are_where_the_volumes_are(self):
        values = {
            "csi": {**VALUES["csi"], "nodeSelector": {"a": "b"}, "tolerations": []}
        }
        documents = HELM.render(values)
        driver, _, driver_pod = driver_of(documents)
        (theirs,) = [v for v in driver_pod["volumes"] if v["name"] == "sockets"]
        for name in "ramvol-image-golden", "ramvol-image-other-1-0":
            pod = pod_of(documents, name)
            self.assertEqual(pod["nodeSelector"], driver_pod["nodeSelector"])
            self.assertNotIn("tolerations", pod)
            self.assertIn(theirs, pod["volumes"])
            self.assertEqual(environment(pod)["RAMVOL_SERVER"], driver["args"][2][10:])
            self.assertEqual(pod["containers"][0]["image"], driver["image"])

    def test_each_has_pods_of_its_own(self):
        documents = HELM.render(VALUES)
        selectors = [
            d["spec"]["selector"]["matchLabels"]
            for d in documents
            if d["kind"] == "DaemonSet"
        ]
        labels = [
            d["spec"]["template"]["metadata"]["labels"]
            for d in documents
            if d["kind"] == "DaemonSet"
        ]
        for selector in selectors:
            found = [one for one in labels if selector.items() <= one.items()]
            self.assertEqual(len(found), 1, selector)

    def test_ready_when_the_volume_is_there(self):
        pod = pod_of(HELM.render(VALUES), "ramvol-image-golden")
        probe = pod["containers"][0]["readinessProbe"]["exec"]["command"]
        self.assertEqual(probe, ["/usr/bin/ramvol-image", "check"])

    def test_bad_values(self):
        for image, word in (
            ({"name": "a"}, "either url or volume"),
            (
                {"name": "a", "url": "http://a", "volume": CLAIM, "path": "b"},
                "either url or volume",
            ),
            ({"name": "a", "volume": CLAIM}, "path"),
            ({"name": "a", "url": "a.img"}, "url"),
            ({"name": "a", "url": "http://a", "sha256": "12"}, "sha256"),
            ({"name": "a", "url": "http://a", "sizeLimit": "much"}, "sizeLimit"),
            ({"name": "A", "url": "http://a"}, "name"),
            ({"url": "http://a"}, "name"),
        ):
            with self.subTest(image=image):
                done = HELM.template({"csi": {"enabled": True, "images": [image]}})
                self.assertNotEqual(done.returncode, 0, "it was taken")
                self.assertIn(word, done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
