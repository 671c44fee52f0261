"""Certificates and keys for tests, by openssl."""

import os
import secrets
import ssl
import subprocess


class Authority:
    """Signs certificates in one folder: NAME-cert.pem and NAME-key.pem, and its own,
    ca-cert.pem: the names that libnbd and QEMU look for."""

    def __init__(self, folder, name="test-ca"):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self._key("ca")
        self._openssl(
            *("req", "-x509", "-key", self.path("ca-key.pem"), "-days", "2"),
            *("-subj", f"/CN={name}", "-out", self.path("ca-cert.pem")),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def path(self, name):
        return os.path.join(self.folder, name)

    @staticmethod
    def _openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    def _key(self, name):
        self._openssl(
            *("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-out", self.path(f"{name}-key.pem")),
        )

    def sign(self, name, common_name="localhost", names="DNS:localhost,IP:127.0.0.1"):
        """Returns the paths of a certificate and its key."""
        self._key(name)
        cert, key = self.path(f"{name}-cert.pem"), self.path(f"{name}-key.pem")
        request, extensions = self.path(f"{name}.csr"), self.path(f"{name}.ext")
        with open(extensions, "w", encoding="ascii") as file:
            file.write(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
        subject = f"/CN={common_name}"
        self._openssl("req", "-new", "-key", key, "-subj", subject, "-out", request)
        self._openssl(
            *("x509", "-req", "-in", request, "-days", "1", "-out", cert),
            *("-CA", self.path("ca-cert.pem"), "-CAkey", self.path("ca-key.pem")),
            *("-CAcreateserial", "-extfile", extensions),
        )
        return cert, key

    def context(self, client=None, protocol=None):
        """For ssl: trusts this authority, and shows the certificate of `client`."""
        context = ssl.create_default_context(cafile=self.path("ca-cert.pem"))
        if client:
            cert, key = f"{client}-cert.pem", f"{client}-key.pem"
            context.load_cert_chain(self.path(cert), self.path(key))
        if protocol:
            context.set_alpn_protocols([protocol])
        return context


def make_keys(path, *users):
    """A file of pre-shared keys."""
    with open(path, "w", encoding="ascii") as file:
        for user in users:
            file.write(f"{user}:{secrets.token_hex(32)}\n")
    return path


def read(path):
    with open(path, "rb") as file:
        return file.read()
