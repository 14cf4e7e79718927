"""Replicas of the chart on this machine, found by name, behind the HAProxy that helm renders."""

import re
import shutil
import socket
import subprocess
from pathlib import Path

import grpc

from chart import REDIS, TLS, Values, find, render
from name_server import NameServer
from services import Program, ServiceTest, free_port, wait_for

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin") or "haproxy"
DOMAIN = "chat.svc.cluster.local"


class Certificates:
    """A certificate authority, and a server's and a client's certificate of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.openssl(
            "req", "-x509", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt"
        )
        for name in ("server.pem", "client"):
            subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"]
            by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-keyout", f"{name}.key", "-out", name]
            self.openssl("req", "-x509", *subject, *by)

    def openssl(self, *arguments: str) -> None:
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        subprocess.run(
            ["openssl", *arguments, *key], cwd=self.folder, capture_output=True, check=True
        )

    def credentials(self) -> grpc.ChannelCredentials:
        """A client's."""
        names = ("ca.crt", "client.key", "client")
        return grpc.ssl_channel_credentials(*((self.folder / name).read_bytes() for name in names))


class ClusterTest(ServiceTest):
    def write_config(self, values: Values, certificates: Path, *changes: tuple[str, str]) -> Path:
        """haproxy.cfg as the proxy's pod reads it, with its files in `certificates`."""
        config = find(render(values), "ConfigMap", "kvasir-proxy")["data"]["haproxy.cfg"]
        config = re.sub(r"/(etc/haproxy/tls|etc/haproxy/clients|tmp)/", f"{certificates}/", config)
        for old, new in changes:
            config, count = re.subn(old, new, config)
            self.assertGreater(count, 0, old)
        path = certificates / "haproxy.cfg"
        path.write_text(config)
        return path

    def start_cluster(self, *stores: str) -> None:
        """A replica for each --session-store, and a tokenizer; all replicas have one port, and each an
        address.
        """
        self.certificates = Certificates(self.folder())
        self.port, self.proxy_port = free_port(), free_port()
        self.tokenizer = self.start("kvasir-tokenizer").serve()
        self.stores, self.started = stores, 0
        self.dns = NameServer({f"kvasir-tokenizer.{DOMAIN}": "127.0.0.1"})
        self.replicas = [self.start_replica(ordinal) for ordinal in range(len(stores))]
        config = self.write_config(
            {"sessions": REDIS, "model": {"replicas": len(stores)}, "proxy": {"tls": TLS}},
            self.certificates.folder,
            ("parse-resolv-conf", f"nameserver cluster {self.dns.address}"),
            (":50051", ":" + self.tokenizer.address.split(":")[1]),
            (":50052", f":{self.port}"),
            ("bind :50050", f"bind 127.0.0.1:{self.proxy_port}"),
            ("bind :8404", f"bind 127.0.0.1:{free_port()}"),
        )
        process = subprocess.Popen(
            [HAPROXY, "-f", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        for server in ("tokenizer1", *(f"replica{ordinal}" for ordinal in range(len(stores)))):
            self.await_status(server, "UP")

    @staticmethod
    def name_of(ordinal: int) -> str:
        return f"kvasir-model-{ordinal}.kvasir-model.{DOMAIN}"

    def start_replica(self, ordinal: int) -> Program:
        """Under its name, and an address that none has had."""
        self.started += 1
        address = f"127.0.1.{self.started}"
        flags = [
            f"--session-store={self.stores[ordinal]}",
            f"--advertise={self.name_of(ordinal)}:50052",
        ]
        program = self.start("kvasir-model", *flags, listen=f"{address}:{self.port}").serve()
        self.dns.addresses[self.name_of(ordinal)] = address
        return program

    def leave_dns(self, ordinal: int) -> None:
        """As a pod that is to stop. Returns when the proxy knows."""
        del self.dns.addresses[self.name_of(ordinal)]
        self.await_status(f"replica{ordinal}", "MAINT")

    def status_of(self, server: str) -> str:
        path = self.certificates.folder / "haproxy.sock"
        if not path.exists():
            return ""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(path))
            admin.sendall(b"show stat\n")
            rows = (line.split(",") for line in admin.makefile())
            return next(row[17] for row in rows if len(row) > 17 and row[1] == server)

    def await_status(self, server: str, status: str) -> None:
        wait_for(lambda: self.status_of(server).startswith(status), f"{server} {status}")

    def channel(self) -> grpc.Channel:
        """Through the proxy."""
        credentials = self.certificates.credentials()
        channel = grpc.secure_channel(f"localhost:{self.proxy_port}", credentials)
        self.addCleanup(channel.close)
        return channel
