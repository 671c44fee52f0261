"""Values for tests of the driver for pods, and what they look for."""

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"
CSI_EVERYTHING = {
    "fullnameOverride": "disks",
    "imagePullSecrets": [{"name": "registry"}],
    "metricsLabels": ["team"],
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "csi": {
        "enabled": True,
        "nodeSelector": {"ram": "much"},
        "tolerations": [{"operator": "Exists"}],
        "priorityClassName": "system-cluster-critical",
        "podAnnotations": {"a/b": "c"},
        "podLabels": {"team": "storage"},
        "kubeletDir": "/var/lib/k0s/kubelet",
        "server": {
            "memory": "64Gi",
            "cpu": {"request": "2", "limit": "8"},
            "stateDir": "/mnt/ram",
            "socketDir": "/run/disks",
            "extraArgs": ["--hot_cache=1G"],
            "containerSecurityContext": {"seLinuxOptions": {"type": "spc_t"}},
            "updateStrategy": {"type": "OnDelete"},
        },
        "driver": {
            "image": {
                "repository": "registry.example/ramvol-csi",
                "digest": "sha256:" + "b" * 64,
            },
            "attach": "nbd",
            "loadModules": False,
            "overcommit": 1.5,
            "trimInterval": "0",
            "metricsPort": 7422,
            "extraArgs": ["--log_format=json"],
            "resources": {"limits": {"memory": "1Gi"}},
            "updateStrategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": "10%"},
            },
        },
        "sidecars": {
            "provisioner": {
                "image": "registry.example/csi-provisioner:v6.4.0",
                "extraArgs": ["--v=5"],
            }
        },
        "storageClasses": [
            {"name": "scratch", "default": True, "parameters": {"zstdLevel": 3}},
            {
                "name": "golden",
                "parameters": {"image": "@golden", "memoryLimit": "25%"},
                "reclaimPolicy": "Retain",
                "allowVolumeExpansion": False,
                "volumeBindingMode": "Immediate",
                "mountOptions": ["noatime"],
            },
        ],
        "snapshots": {
            "enabled": True,
            "className": "frozen",
            "deletionPolicy": "Retain",
        },
    },
}
CSI_SETS = {
    "defaults": {"csi": {"enabled": True}},
    "everything": CSI_EVERYTHING,
    "one node": {
        "csi": {
            "enabled": True,
            "nodeSelector": {"kubernetes.io/hostname": "node-1"},
            "snapshots": {"enabled": True, "groups": True},
            "snapshotMetadata": {"enabled": True, "caCert": CERTIFICATE},
        }
    },
    "without": {
        "csi": {"enabled": True, "storageClasses": []},
        "networkPolicy": {"enabled": False},
    },
}
SNAPSHOTS = "--api-versions=snapshot.storage.k8s.io/v1"


def driver_of(documents):
    """The container of ramvol-csi, and those beside it by their names."""
    (pod,) = [
        d["spec"]["template"]["spec"]
        for d in documents
        if d["kind"] == "DaemonSet"
        and d["spec"]["template"]["spec"]["containers"][0]["name"] == "ramvol-csi"
    ]
    driver, *sidecars = pod["containers"]
    return driver, {sidecar["name"]: sidecar for sidecar in sidecars}, pod


def metadata_of(documents):
    """The containers that serve the blocks of snapshots, one or none, with their pods."""
    pods = [
        document["spec"]["template"]["spec"]
        for document in documents
        if document["kind"] == "Deployment"
    ]
    return [(container, pod) for pod in pods for container in pod["containers"]]
