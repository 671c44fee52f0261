"""Who is let in: certificates, tokens, the policy.

Arguments: as value_sets.py has them.
"""

import sys
import unittest

from chart import find
from value_sets import EVERYTHING, HELM, protoc


class AccessTest(unittest.TestCase):
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


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
