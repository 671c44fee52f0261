"""The Helm chart and the plain manifest of deploy/kubernetes, without a cluster.

Arguments: the folder deploy/kubernetes, the folder proto, docs/kubernetes.md.
"""

import copy
import difflib
import functools
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import MessageFactory

import schemas
from chart import Helm, find, parse

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


class SchemaTest(unittest.TestCase):
    def test_objects_are_valid(self):
        for version in schemas.versions():
            valid = schemas.Schemas(version)
            for name, values in VALUE_SETS.items():
                for document in Helm(HELM.chart, version).render(values):
                    with self.subTest(version=version, values=name):
                        self.assertEqual(valid.errors(document), [], document)

    def test_all_kinds_are_rendered(self):
        kinds = sorted(d["kind"] for d in HELM.render(EVERYTHING))
        self.assertEqual(
            kinds,
            "ConfigMap NetworkPolicy Pod PodDisruptionBudget PrometheusRule Service"
            " Service Service Service Service ServiceAccount ServiceMonitor"
            " StatefulSet".split(),
        )
        kinds = sorted(d["kind"] for d in HELM.render(NOTHING))
        self.assertEqual(kinds, "ConfigMap Pod Service Service StatefulSet".split())

    def test_there_are_several_versions(self):
        self.assertGreaterEqual(len(schemas.versions()), 4)
        self.assertTrue(schemas.versions()[0].startswith("1.27."))

    def test_the_validator_finds_mistakes(self):
        everything = HELM.render(EVERYTHING)

        def wrong(kind, path, value, documents=everything):
            (document,) = copy.deepcopy([d for d in documents if d["kind"] == kind])
            *way, last = path
            functools.reduce(lambda part, key: part[key], way, document)[last] = value
            return document

        pod = ["spec", "template", "spec"]
        mistakes = [
            wrong("StatefulSet", ["spec", "replica"], 3),
            wrong("StatefulSet", ["spec", "replicas"], "3"),
            wrong("StatefulSet", pod + ["containers", 0, "livenesProbe"], {}),
            wrong(
                "StatefulSet",
                pod + ["containers", 0, "livenessProbe", "httpGet"],
                {},
            ),
            wrong(
                "StatefulSet",
                pod + ["containers", 0, "ports", 0],
                {"name": "grpc"},
            ),
            wrong("StatefulSet", pod + ["securityContext", "runAsNonRoot"], "true"),
            wrong("StatefulSet", ["apiVersion"], "apps/v1beta1"),
            wrong("NetworkPolicy", ["spec", "ingress", 0, "form"], []),
            wrong("PodDisruptionBudget", ["spec", "maxUnavailable"], 0.5),
            wrong("ConfigMap", ["data", "number"], 1),
            wrong("ServiceMonitor", ["spec", "endpoint"], []),
            wrong("ServiceMonitor", ["spec", "endpoints", 0, "interval"], "soon"),
            wrong(
                "PrometheusRule",
                ["spec", "groups", 0, "rules", 0],
                {"alert": "A"},
            ),
        ]
        for version in schemas.versions():
            valid = schemas.Schemas(version)
            for document in mistakes:
                self.assertNotEqual(valid.errors(document), [], document)

    def test_lint(self):
        for name, values in VALUE_SETS.items():
            with self.subTest(values=name), tempfile.NamedTemporaryFile("w") as file:
                file.write(
                    repr(values).replace("True", "true").replace("False", "false")
                )
                file.flush()
                done = HELM.run("lint", "--strict", str(HELM.chart), "-f", file.name)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class ObjectsTest(unittest.TestCase):
    """What the schemas do not see."""

    def test_plain_manifest_is_what_the_chart_renders(self):
        script = DEPLOY / "render.sh"
        done = subprocess.run([script], capture_output=True, text=True, check=True)
        plain = (DEPLOY / "ramvol.yaml").read_text()
        difference = difflib.unified_diff(
            plain.splitlines(),
            done.stdout.splitlines(),
            "ramvol.yaml",
            "the chart",
        )
        self.assertEqual(
            plain,
            done.stdout,
            "make it anew: deploy/kubernetes/render.sh"
            " >deploy/kubernetes/ramvol.yaml\n" + "\n".join(difference),
        )
        kinds = {document["kind"] for document in parse(plain)}
        self.assertIn("StatefulSet", kinds)
        self.assertNotIn("Pod", kinds)

    def test_chart_has_the_programs_version(self):
        header = (PROTO.parent / "base" / "version.h").read_text()
        version = re.search(r'kVersion = "(.*)"', header).group(1)
        shown = HELM.run("show", "chart", str(HELM.chart)).stdout
        self.assertEqual(
            re.findall(r"(?m)^(?:appV|v)ersion: (.*)$", shown), [version] * 2
        )

    def test_pods_are_restricted(self):
        for values in VALUE_SETS.values():
            for pod in pod_specs(HELM.render(values)):
                self.assertIs(pod["automountServiceAccountToken"], False)
                security = pod["securityContext"]
                self.assertIs(security["runAsNonRoot"], True)
                self.assertEqual(security["runAsUser"], 65532)
                self.assertEqual(security["seccompProfile"], {"type": "RuntimeDefault"})
                for container in containers(pod):
                    security = container["securityContext"]
                    self.assertIs(security["allowPrivilegeEscalation"], False)
                    self.assertIs(security["readOnlyRootFilesystem"], True)
                    self.assertEqual(security["capabilities"], {"drop": ["ALL"]})

    def test_requested_memory_is_the_limit(self):
        for values in VALUE_SETS.values():
            for pod in pod_specs(HELM.render(values)):
                for container in containers(pod):
                    resources = container["resources"]
                    self.assertEqual(
                        resources["requests"]["memory"],
                        resources["limits"]["memory"],
                    )

    def test_volumes_live_in_memory_of_the_pod(self):
        pod = find(HELM.render({"resources": {"memory": "64Gi"}}), "StatefulSet")
        pod = pod["spec"]["template"]["spec"]
        (volume,) = [v for v in pod["volumes"] if v["name"] == "state"]
        # No more than the pod may take, and no less than its volumes may.
        self.assertEqual(volume["emptyDir"], {"medium": "Memory", "sizeLimit": "64Gi"})
        (container,) = pod["containers"]
        (mount,) = [m for m in container["volumeMounts"] if m["name"] == "state"]
        self.assertIn(f"--state_dir={mount['mountPath']}/state", container["args"])
        without = find(HELM.render({"state": {"enabled": False}}), "StatefulSet")
        self.assertNotIn("state", str(without["spec"]["template"]["spec"]))

    def test_saves_have_a_claim_and_time(self):
        values = {
            "saves": {
                "enabled": True,
                "size": "8Gi",
                "storageClassName": "fast",
                "timeoutSeconds": 900,
            }
        }
        stateful = find(HELM.render(values), "StatefulSet")["spec"]
        (claim,) = stateful["volumeClaimTemplates"]
        self.assertEqual(
            claim["spec"],
            {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "fast",
                "resources": {"requests": {"storage": "8Gi"}},
            },
        )
        pod = stateful["template"]["spec"]
        (container,) = pod["containers"]
        name = claim["metadata"]["name"]
        (mount,) = [m for m in container["volumeMounts"] if m["name"] == name]
        # Below the mount, which holds lost+found and is not the server's.
        self.assertIn(f"--save_dir={mount['mountPath']}/all", container["args"])
        self.assertEqual(pod["securityContext"]["fsGroup"], 65532)
        self.assertEqual(pod["terminationGracePeriodSeconds"], 10 + 20 + 900)
        probe = container["startupProbe"]
        self.assertEqual(probe["failureThreshold"] * probe["periodSeconds"], 1020)
        without = str(find(HELM.render({}), "StatefulSet"))
        for text in ("save", "fsGroup", "volumeClaimTemplates"):
            self.assertNotIn(text, without)

    def test_a_pod_has_time_to_drain(self):
        pod = find(HELM.render({"drainTimeoutSeconds": 600}), "StatefulSet")
        pod = pod["spec"]["template"]["spec"]
        self.assertIn("--drain_timeout=600s", pod["containers"][0]["args"])
        self.assertEqual(pod["terminationGracePeriodSeconds"], 620)

    def test_access(self):
        """Mounted as folders: a kubelet changes no file that is mounted alone."""
        documents = HELM.render(EVERYTHING)
        pod = find(documents, "StatefulSet", "disks")["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        mounts = {m["name"]: m for m in container["volumeMounts"]}
        volumes = {v["name"]: v for v in pod["volumes"]}
        data = find(documents, "ConfigMap", "disks")["data"]
        self.assertEqual(
            data["policy.textproto"].strip(), EVERYTHING["access"]["policy"]
        )
        for flag, name, file in (
            ("--auth_policy", "volumes-file", "policy.textproto"),
            ("--token_file", "tokens", "tokens"),
        ):
            path = f"{mounts[name]['mountPath']}/{file}"
            self.assertIn(f"{flag}={path}", container["args"])
            self.assertNotIn("subPath", mounts[name])
        self.assertEqual(volumes["tokens"]["secret"], {"secretName": "disks-tokens"})
        self.assertIn("--audit_log=-", container["args"])
        monitor = find(documents, "ServiceMonitor", "disks")["spec"]
        self.assertEqual(
            monitor["endpoints"][0]["authorization"],
            {"credentials": {"name": "prometheus", "key": "token"}},
        )
        without = str(HELM.render({"serviceMonitor": {"enabled": True}}))
        for word in (
            "auth_policy",
            "policy.textproto",
            "token",
            "audit",
            "authorization",
        ):
            self.assertNotIn(word, without.replace("automountServiceAccountToken", ""))

    def test_the_policy_is_one(self):
        """As ramvold reads it, quotes and all."""
        text = 'grants { identities: "cn:a\\"b # {{ x }}" role: ROLE_OWNER }\n# end\n'
        documents = HELM.render({"access": {"policy": text}})
        policy = find(documents, "ConfigMap")["data"]["policy.textproto"]
        binary = protoc(
            "--encode=ramvol.v1.AccessPolicy",
            input=policy.encode(),
            file="access_policy.proto",
        )
        self.assertIn(b'cn:a"b # {{ x }}', binary)

    def test_no_change_of_rights_changes_the_pods(self):
        one, other = (
            find(HELM.render({"access": {"policy": text}}), "StatefulSet")
            for text in ("# a", "# b")
        )
        self.assertEqual(one, other)

    def test_no_change_of_volumes_changes_the_pods(self):
        some = HELM.render({"volumes": [{"name": "a", "size": 1}]})
        none = HELM.render()
        self.assertNotEqual(find(some, "ConfigMap"), find(none, "ConfigMap"))
        self.assertEqual(find(some, "StatefulSet"), find(none, "StatefulSet"))

    def test_nothing_replaces_pods_unasked(self):
        documents = HELM.render()
        spec = find(documents, "StatefulSet")["spec"]
        self.assertEqual(spec["updateStrategy"], {"type": "OnDelete"})
        self.assertEqual(spec["podManagementPolicy"], "Parallel")
        budget = find(documents, "PodDisruptionBudget")["spec"]
        self.assertEqual(budget["maxUnavailable"], 0)

    def test_probes_speak_what_the_server_does(self):
        """A kubelet's gRPC knows no TLS."""
        paths = {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}
        for values in {}, {"insecure": True}:
            pod = find(HELM.render(values), "StatefulSet")["spec"]["template"]["spec"]
            for name, path in paths.items():
                probe = pod["containers"][0][f"{name}Probe"]
                http = {"scheme": "HTTPS", "port": "metrics", "path": path}
                if values:
                    self.assertEqual(probe["grpc"], {"port": 7420})
                else:
                    self.assertEqual(probe["httpGet"], http)

    def test_tls_is_the_default(self):
        for secret in "ramvol-tls", "own":
            values = {} if secret == "ramvol-tls" else {"tls": {"secretName": secret}}
            documents = HELM.render(values)
            pod = find(documents, "StatefulSet")["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            self.assertNotIn("--insecure", container["args"])
            self.assertIn("--tls_client_auth=require", container["args"])
            (volume,) = [v for v in pod["volumes"] if v["name"] == "tls"]
            self.assertEqual(volume["secret"], {"secretName": secret})
            (mount,) = [m for m in container["volumeMounts"] if m["name"] == "tls"]
            for flag in "cert=", "key=", "client_ca=":
                (path,) = [a for a in container["args"] if f"--tls_{flag}" in a]
                self.assertIn(mount["mountPath"], path)

    def test_insecure_is_the_way_out(self):
        documents = HELM.render({"insecure": True, "tls": {"issuer": {"name": "ca"}}})
        pod = find(documents, "StatefulSet")["spec"]["template"]["spec"]
        self.assertIn("--insecure", pod["containers"][0]["args"])
        self.assertNotIn("tls", str(documents))

    def test_cert_manager_makes_the_secret(self):
        values = {"tls": {"issuer": {"name": "ca", "kind": "ClusterIssuer"}}}
        documents = HELM.render(values)
        spec = find(documents, "Certificate")["spec"]
        pod = find(documents, "StatefulSet")["spec"]["template"]["spec"]
        (volume,) = [v for v in pod["volumes"] if v["name"] == "tls"]
        self.assertEqual(spec["secretName"], volume["secret"]["secretName"])
        self.assertEqual(spec["issuerRef"], {"name": "ca", "kind": "ClusterIssuer"})
        for name in "ramvol", "ramvol.ramvol", "*.ramvol-replicas.ramvol", "localhost":
            self.assertIn(name, spec["dnsNames"])

    def test_references_lead_somewhere(self):
        for name, values in VALUE_SETS.items():
            documents = HELM.render(values)
            full = values.get("fullnameOverride", "ramvol")
            spec = find(documents, "StatefulSet", full)["spec"]
            pod = spec["template"]["spec"]
            labels = dict(spec["template"]["metadata"]["labels"])
            # What Kubernetes adds to the first pod.
            labels["statefulset.kubernetes.io/pod-name"] = f"{full}-0"
            ports = {port["name"] for port in pod["containers"][0]["ports"]}

            def selects_pods(selector):
                self.assertLessEqual(selector.items(), labels.items(), name)

            selects_pods(spec["selector"]["matchLabels"])
            headless = find(documents, "Service", spec["serviceName"])
            self.assertEqual(headless["spec"]["clusterIP"], "None")
            find(documents, "ConfigMap", pod["volumes"][0]["configMap"]["name"])
            if values.get("serviceAccount", {}).get("create", True):
                find(documents, "ServiceAccount", pod["serviceAccountName"])
            else:
                self.assertEqual(pod["serviceAccountName"], "default")
            for document in documents:
                self.assertEqual(document["metadata"]["namespace"], "ramvol")
                if document["kind"] == "Service":
                    selector = dict(document["spec"]["selector"])
                    if re.search(r"-\d+$", document["metadata"]["name"]):
                        del selector["statefulset.kubernetes.io/pod-name"]
                    selects_pods(selector)
                    for port in document["spec"]["ports"]:
                        self.assertIn(port["targetPort"], ports)
                if document["kind"] == "PodDisruptionBudget":
                    selects_pods(document["spec"]["selector"]["matchLabels"])
                if document["kind"] == "NetworkPolicy":
                    selects_pods(document["spec"]["podSelector"]["matchLabels"])
                    for rule in document["spec"]["ingress"]:
                        self.assertLessEqual({p["port"] for p in rule["ports"]}, ports)
                if document["kind"] == "Pod":
                    # Or the Services would lead to the test's pod.
                    self.assertNotEqual(
                        document["metadata"]["labels"]["app.kubernetes.io/name"],
                        labels["app.kubernetes.io/name"],
                    )

    def test_no_service_leads_clients_to_several_servers(self):
        for replicas in 0, 1, 3:
            documents = HELM.render({"replicas": replicas})
            led = {
                document["metadata"]["name"]: document["spec"]["selector"].get(
                    "statefulset.kubernetes.io/pod-name"
                )
                for document in documents
                if document["kind"] == "Service"
            }
            # The name of each by DNS: a client that asks it gets all addresses.
            self.assertIsNone(led.pop("ramvol-replicas"))
            # The same replica whatever the number, so that scaling moves no client.
            self.assertEqual(led.pop("ramvol"), "ramvol-0")
            each = [f"ramvol-{i}" for i in range(replicas if replicas > 1 else 0)]
            self.assertEqual(led, {name: name for name in each})

    def test_extra_environment_and_files(self):
        spec = find(HELM.render(EVERYTHING), "StatefulSet", "disks")["spec"]
        pod = spec["template"]["spec"]
        (container,) = pod["containers"]
        self.assertEqual(container["env"][-1:], EVERYTHING["extraEnv"])
        self.assertEqual(pod["volumes"][4:], EVERYTHING["extraVolumes"])
        self.assertEqual(container["volumeMounts"][4:], EVERYTHING["extraVolumeMounts"])
        self.assertEqual(container["volumeMounts"][0]["mountPath"], "/etc/ramvol")

    def test_labels_of_metrics(self):
        spec = find(HELM.render(EVERYTHING), "StatefulSet", "disks")["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        self.assertIn("--metrics_labels=team,cost.center", container["args"])

    def test_security_is_overridden_key_by_key(self):
        documents = HELM.render(
            {
                "podSecurityContext": {"runAsUser": 1000660000, "runAsGroup": None},
                "containerSecurityContext": {"capabilities": {"add": ["IPC_LOCK"]}},
            }
        )
        for pod in pod_specs(documents):
            self.assertEqual(
                pod["securityContext"],
                {
                    "runAsNonRoot": True,
                    "runAsUser": 1000660000,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            )
            for container in containers(pod):
                self.assertEqual(
                    container["securityContext"],
                    {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"add": ["IPC_LOCK"]},
                    },
                )

    def test_the_default_image_is_no_strangers(self):
        # A name without a registry would be one of Docker Hub's.
        for pod in pod_specs(HELM.render()):
            for container in containers(pod):
                self.assertTrue(container["image"].startswith("localhost/ramvol:"))

    def test_network_policy(self):
        spec = find(HELM.render(), "NetworkPolicy")["spec"]
        self.assertEqual(spec["policyTypes"], ["Ingress", "Egress"])
        self.assertEqual(spec["egress"], [])
        clients, monitoring = spec["ingress"]
        self.assertEqual(
            clients["from"],
            [{"podSelector": {"matchLabels": {"ramvol-client": "true"}}}],
        )
        self.assertEqual([p["port"] for p in clients["ports"]], ["grpc", "nbd"])
        self.assertEqual([p["port"] for p in monitoring["ports"]], ["metrics"])
        test = find(HELM.render(), "Pod", "ramvol-test")
        self.assertEqual(test["metadata"]["labels"]["ramvol-client"], "true")

    def test_without_monitoring_peers_nobody_reads_metrics(self):
        documents = HELM.render(VALUE_SETS["nobody reads metrics"])
        (clients,) = find(documents, "NetworkPolicy")["spec"]["ingress"]
        self.assertNotIn("metrics", [port["port"] for port in clients["ports"]])

    def test_service_monitor_selects_one_service(self):
        documents = HELM.render(EVERYTHING)
        spec = find(documents, "ServiceMonitor", "disks")["spec"]
        wanted = spec["selector"]["matchLabels"].items()
        (service,) = [
            document
            for document in documents
            if document["kind"] == "Service"
            and wanted <= document["metadata"]["labels"].items()
        ]
        ports = {port["name"] for port in service["spec"]["ports"]}
        self.assertEqual({e["port"] for e in spec["endpoints"]} - ports, set())
        # The rules look for a job with this in its name.
        self.assertEqual(service["metadata"]["labels"][spec["jobLabel"]], "ramvol")

    def test_rules_are_those_of_prometheus(self):
        (rules,) = parse((DEPLOY / "ramvol/files/ramvol.rules.yml").read_text())
        rule = find(HELM.render(EVERYTHING), "PrometheusRule", "disks")
        self.assertEqual(rule["spec"], rules)
        alerts = {r.get("alert") for group in rules["groups"] for r in group["rules"]}
        self.assertIn("RamvolDown", alerts)

    def test_runbooks_are_links(self):
        url = "https://git.example/ramvol/blob/v0.1.0/docs/alerts.md"
        rule = find(
            HELM.render({"prometheusRule": {"enabled": True, "runbookURL": url}}),
            "PrometheusRule",
        )
        rules = [r for group in rule["spec"]["groups"] for r in group["rules"]]
        alerts = [r for r in rules if "alert" in r]
        self.assertGreater(len(alerts), 10)
        for alert in alerts:
            anchor = alert["alert"].lower()
            self.assertEqual(alert["annotations"]["runbook_url"], f"{url}#{anchor}")
            self.assertNotIn("runbook", alert["annotations"])

    def test_packaged_chart_renders_the_same(self):
        with tempfile.TemporaryDirectory() as folder:
            done = HELM.run("package", str(HELM.chart), "-d", folder)
            self.assertEqual(done.returncode, 0, done.stderr)
            (archive,) = pathlib.Path(folder).iterdir()
            self.assertEqual(Helm(archive).render(EVERYTHING), HELM.render(EVERYTHING))


class DocsTest(unittest.TestCase):
    def test_yaml_in_the_docs_is_valid(self):
        valid = schemas.Schemas(schemas.versions()[-1])
        text = DOCS.read_text()
        blocks = re.findall(r"(?ms)^```yaml\n(.*?)^```$", text)
        self.assertGreater(len(blocks), 2)
        for block in blocks:
            (document,) = parse(block)
            if "kind" in document:
                self.assertEqual(valid.errors(document), [])
            else:
                HELM.render(document)


class NotesTest(unittest.TestCase):
    """What `helm install` says, which `helm template` renders but hides."""

    def notes(self, values=None):
        with tempfile.TemporaryDirectory() as folder:
            chart = pathlib.Path(folder) / "ramvol"
            shutil.copytree(HELM.chart, chart)
            notes = chart / "templates" / "NOTES.txt"
            (chart / "templates" / "shown.yaml").write_text(
                '{{- define "notes" }}' + notes.read_text() + "{{- end }}\n"
                "kind: Notes\n"
                "metadata: {name: notes}\n"
                'text: {{ include "notes" . | quote }}\n'
            )
            return find(Helm(chart).render(values), "Notes", "notes")["text"]

    def test_defaults(self):
        notes = self.notes()
        self.assertIn("ramvol.ramvol:7420", notes)
        self.assertIn("nbds://ramvol.ramvol:10809/VOLUME", notes)
        self.assertIn("ramvol-client=true", notes)
        self.assertIn("`helm upgrade` replaces no pod", notes)
        self.assertNotIn("replicas", notes)

    def test_everything(self):
        notes = self.notes(EVERYTHING)
        self.assertIn("disks-1.ramvol", notes)
        self.assertIn("example.org/uses-disks=true", notes)
        self.assertIn("updateStrategy is RollingUpdate", notes)

    def test_nothing(self):
        notes = self.notes(NOTHING)
        self.assertNotIn("nbd://", notes)
        self.assertNotIn("Only pods", notes)


def protoc(*args, file="volumes_file.proto", **kwargs):
    command = ["protoc", f"-I{PROTO}", *args, f"ramvol/v1/{file}"]
    return subprocess.run(command, capture_output=True, check=True, **kwargs).stdout


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


class RefusalTest(unittest.TestCase):
    def refuses(self, values, *words):
        done = HELM.template(values)
        with self.subTest(values=values):
            self.assertNotEqual(done.returncode, 0, "it was taken")
            for word in words:
                self.assertIn(word, done.stderr)

    def test_bad_quantities(self):
        bad = (
            "",
            " ",
            "10GB",
            "10gi",
            "1.5Gi",
            "-1",
            "1e3",
            "0x10",
            "10 Gi",
            "Gi",
            "1_000",
        )
        for size in bad:
            volumes = [{"name": "a", "size": 1}, {"name": "b", "size": size}]
            self.refuses(
                {"volumes": volumes}, "volumes[1].size", f'"{size}" is no size'
            )
        for size in (
            str(2**63),
            "8Ei",
            "9223372036854775808",
            "10E",
            "9" * 30,
            "8388608Ti",
        ):
            self.refuses(
                {"volumes": [{"name": "a", "size": size}]},
                f'"{size}" is more than',
            )
        for size in 0, "0", "0Gi":
            self.refuses({"volumes": [{"name": "a", "size": size}]}, "at least 1 byte")
        for size in 2**53, 2**63 - 1:
            self.refuses(
                {"volumes": [{"name": "a", "size": size}]},
                "write it as a string",
            )
        for size in 1.5, None, True, [], {}:
            self.refuses({"volumes": [{"name": "a", "size": size}]}, "volumes", "size")
        volume = {"name": "a", "size": 1, "memoryLimit": "much"}
        self.refuses(
            {"volumes": [volume]}, "volumes[0].memoryLimit", '"much" is no size'
        )

    def test_bad_volumes(self):
        for name in "", "A", "-a", "a-", "a/b", "a" * 64, 1:
            self.refuses({"volumes": [{"name": name, "size": 1}]}, "volumes", "name")
        self.refuses({"volumes": [{"size": 1}]}, "name")
        self.refuses({"volumes": [{"name": "a"}]}, "size")
        volume = {"name": "a", "size": 1}
        self.refuses(
            {"volumes": [volume, volume]}, "volumes[1].name", 'two volumes "a"'
        )
        self.refuses({"volumes": [dict(volume, sise=1)]}, "sise")
        self.refuses({"volumes": [dict(volume, allocator="zip")]}, "allocator")
        self.refuses({"volumes": [dict(volume, zstdLevel=20)]}, "zstdLevel")
        self.refuses({"volumes": [dict(volume, labels={"A": "b"})]}, "match")
        self.refuses({"volumes": [dict(volume, labels={"a": 1})]}, "labels")

    def test_bad_values(self):
        self.refuses({"replica": 2}, "replica")
        self.refuses({"replicas": -1}, "replicas")
        self.refuses({"replicas": "two"}, "replicas")
        self.refuses({"image": {"tags": "x"}}, "tags")
        self.refuses({"image": {"digest": "sha256:12"}}, "digest")
        self.refuses(
            {"resources": {"limits": {"memory": "1Gi"}}},
            "limits",
        )
        self.refuses({"resources": {"memory": "4GB"}}, "memory")
        self.refuses({"updateStrategy": "Recreate"}, "updateStrategy")
        self.refuses({"networkPolicy": {"clientLabel": True}}, "clientLabel")
        self.refuses({"extraArgs": ["max_volumes=1"]}, "extraArgs")
        self.refuses({"metricsLabels": ["Team"]}, "metricsLabels")
        self.refuses({"metricsLabels": ["team", "team"]}, "metricsLabels")
        self.refuses({"metricsLabels": list("abcdefghi")}, "metricsLabels")
        self.refuses({"nbd": {"port": 1}}, "port")
        self.refuses({"access": {"polcy": ""}}, "polcy")
        self.refuses({"access": {"policy": ["a"]}}, "policy")
        self.refuses({"serviceMonitor": {"tokenSecret": {"key": ""}}}, "key")
        self.refuses({"extraEnv": [{"value": "x"}]}, "name")
        self.refuses({"extraVolumeMounts": [{"name": "x"}]}, "mountPath")
        self.refuses({"prometheusRule": {"runbookURL": "docs"}}, "runbookURL")
        self.refuses({"drainTimeoutSeconds": "10s"}, "drainTimeoutSeconds")

    def test_old_clusters(self):
        done = Helm(HELM.chart, "1.26.15").template()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("kubeVersion: >=1.27", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
