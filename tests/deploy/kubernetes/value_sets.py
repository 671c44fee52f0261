"""What the tests of the chart have in common: where it is, and values to render it with.

The tests' arguments: the folder deploy/kubernetes, the folder proto, docs/kubernetes.md.
"""

import pathlib
import subprocess
import sys

from chart import Helm

DEPLOY, PROTO, DOCS = (pathlib.Path(arg).resolve() for arg in sys.argv[1:4])
HELM = Helm(DEPLOY / "ramvol")

EVERYTHING = {
    "fullnameOverride": "disks",
    "replicas": 3,
    "image": {
        "repository": "registry.example/ramvol",
        "digest": "sha256:" + "a" * 64,
    },
    "imagePullSecrets": [{"name": "registry"}],
    "resources": {"memory": "64Gi", "cpu": {"request": "500m", "limit": "8"}},
    "volumes": [{"name": "scratch", "size": "10Gi", "labels": {"team": "ci"}}],
    "listenHost": "[::]",
    "drainTimeoutSeconds": 60,
    "extraArgs": ["--max_volumes=10", "--hot_cache=1G"],
    "metricsLabels": ["team", "cost.center"],
    "extraEnv": [{"name": "GRPC_VERBOSITY", "value": "INFO"}],
    "extraVolumes": [{"name": "keys", "secret": {"secretName": "nbd-keys"}}],
    "extraVolumeMounts": [{"name": "keys", "mountPath": "/keys", "readOnly": True}],
    "tls": {"secretName": "disks-certificate", "clientAuth": "optional"},
    "access": {
        "policy": 'grants { identities: "cn:disks" role: ROLE_ADMIN }',
        "tokensSecretName": "disks-tokens",
        "auditLog": True,
    },
    "podSecurityContext": {"fsGroup": 65532},
    "containerSecurityContext": {"seLinuxOptions": {"type": "spc_t"}},
    "service": {"type": "LoadBalancer", "annotations": {"a/b": "c"}},
    "updateStrategy": "RollingUpdate",
    "podDisruptionBudget": {"maxUnavailable": "50%"},
    "networkPolicy": {
        "clientLabel": "example.org/uses-disks",
        "clientNamespaceSelector": {"matchLabels": {"team": "ci"}},
        "clientCIDRs": ["192.0.2.0/24", "2001:db8::/32"],
    },
    "serviceMonitor": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "scrapeTimeout": "5s",
        "tokenSecret": {"name": "prometheus"},
    },
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "serviceAccount": {"annotations": {"a/b": "c"}},
    "podAnnotations": {"a/b": "c"},
    "podLabels": {"team": "storage"},
    "priorityClassName": "system-node-critical",
    "nodeSelector": {"disk": "none"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "b", "operator": "Exists"}]}
                ]
            }
        }
    },
}
NOTHING = {
    "nbd": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "serviceAccount": {"create": False},
}
VALUE_SETS = {
    "defaults": {},
    "everything": EVERYTHING,
    "nothing": NOTHING,
    "several replicas": {"replicas": 5},
    "no NBD": {"nbd": {"enabled": False}},
    "nobody reads metrics": {"networkPolicy": {"monitoring": []}},
    "no TLS": {"insecure": True, "serviceMonitor": {"enabled": True}},
}


def pod_specs(documents):
    for document in documents:
        if document["kind"] == "StatefulSet":
            yield document["spec"]["template"]["spec"]
        if document["kind"] == "Pod":
            yield document["spec"]


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


def protoc(*args, file="volumes_file.proto", **kwargs):
    command = ["protoc", f"-I{PROTO}", *args, f"ramvol/v1/{file}"]
    return subprocess.run(command, capture_output=True, check=True, **kwargs).stdout
